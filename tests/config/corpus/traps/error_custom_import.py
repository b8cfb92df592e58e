custom_imports = dict(imports=['no_such_module_anywhere'], allow_failed_imports=False)

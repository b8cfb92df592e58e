"""resnet18.py, ended by a signal after the sixth iteration of its eight."""

_base_ = "resnet18.py"

custom_imports = dict(imports=["stopping"])
custom_hooks = [
    dict(type="EMAHook", momentum=0.1),
    dict(type="StoppingHook", after=6, signal_name="SIGTERM"),
]

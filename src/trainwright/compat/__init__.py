"""The faces of other engines: their module trees, on Trainwright's core.

>>> import trainwright.compat.mmcv1 as face
>>> face.install()          # from here on `import mmcv.runner` is ours
>>> face.uninstall()
"""

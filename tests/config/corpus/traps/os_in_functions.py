_base_ = './plain_base.py'


def read(name):
    import os
    from math import floor
    return os.environ.get(name, 'none'), floor(1.5)


model = dict(found=read('TW_SET'))
if True:
    import json
    loaded = json.loads('[1]')
try:
    from no_such_package_anywhere import thing
except ImportError:
    thing = 'not installed'

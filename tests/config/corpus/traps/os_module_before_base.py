import os
import os.path as osp

_base_ = './plain_base.py'
data_root = osp.join(_base_.data_root, os.environ.get('TW_UNSET', 'x'))
model = dict(inner=dict(b=os.environ.get('TW_SET')))

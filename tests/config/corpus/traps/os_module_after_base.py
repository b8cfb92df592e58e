_base_ = './plain_base.py'
import os.path as osp
from os import environ
from pathlib import PurePosixPath

data_root = osp.join(_base_.data_root, environ['TW_SET'])
parent = str(PurePosixPath('a/b/c').parent)
del environ

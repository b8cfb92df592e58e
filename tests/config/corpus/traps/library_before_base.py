import numpy as np
from mmdet.models import Detector

_base_ = ['./plain_base.py']
model = dict(type=Detector, dtype=np.float32)
size = _base_.size + 1

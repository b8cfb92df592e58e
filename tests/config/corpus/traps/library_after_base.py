_base_ = './plain_base.py'
from mmdet.models import Detector
import torch.nn as nn
import mmdet.datasets

model = dict(type=Detector, norm=nn.LayerNorm, inner=dict(made=mmdet.datasets.make))
layers = [nn.Linear, (Detector.Head, {'k': nn.functional.relu})]
_base_.a.b = nn.GELU
deeper = {{ _base_.a }}

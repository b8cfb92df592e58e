from torch.nn import BatchNorm2d, ReLU

from mmdet.models import FPN, FasterRCNN, ResNet

model = dict(
    type=FasterRCNN,
    backbone=dict(type=ResNet, depth=50, norm_cfg=dict(type=BatchNorm2d), act_cfg=dict(type=ReLU, inplace=True)),
    neck=dict(type=FPN, in_channels=[256, 512, 1024, 2048]))

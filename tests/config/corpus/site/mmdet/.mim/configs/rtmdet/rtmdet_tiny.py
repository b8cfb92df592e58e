_base_ = '../_base_/runtime.py'
model = dict(type='RTMDet', bbox_head=dict(type='RTMDetHead', num_classes=80), test_cfg=dict(nms=dict(type='nms')))

_base_ = ['../_base_/datasets/imagenet.py']
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, init_cfg=[dict(type='Kaiming'), dict(type='Constant', val=1)]),
    head=dict(type='LinearClsHead', num_classes=1000, loss=dict(type='CrossEntropyLoss')))
val_cfg = dict()

_base_ = ['../_base_/datasets/imagenet.py', '../_base_/default_runtime.py']
model = dict(type='ImageClassifier', backbone=dict(type='MobileNetV2', widen_factor=1.0))
train_cfg = dict(max_epochs=300)

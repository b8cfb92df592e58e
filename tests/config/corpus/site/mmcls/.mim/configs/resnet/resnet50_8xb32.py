_base_ = './resnet18_8xb32.py'
model = dict(backbone=dict(depth=50))

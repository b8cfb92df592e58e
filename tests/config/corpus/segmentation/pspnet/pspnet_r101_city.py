_base_ = './pspnet_r50_city-512x1024.py'
model = dict(pretrained=None, backbone=dict(depth=101, init_cfg=dict(type='Pretrained', checkpoint='x://r101')))

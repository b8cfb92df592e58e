_base_ = './rtmdet_finetune.py'
model = dict(bbox_head=dict(num_classes=3), data=dict(type='Extra'))

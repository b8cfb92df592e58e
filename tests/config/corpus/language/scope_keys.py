_base_ = '../detection/_base_/models/one_stage.py'
model = dict(_scope_='mmyolo', backbone=dict(_scope_='mmdet', plugins=[dict(cfg=dict(type='mmcls.Block', _scope_='mmcls'), stages=(False, True))]))
default_scope = 'mmyolo'
train_dataloader = dict(dataset=dict(_scope_='mmdet', _delete_=True, type='mmdet.CocoDataset'), _scope_=None)

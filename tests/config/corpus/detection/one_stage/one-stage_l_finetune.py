_base_ = './one-stage_l.py'
custom_hooks = [*_base_.custom_hooks[:-1], dict(_base_.custom_hooks[0], priority=1)]
model = dict(
    bbox_head=dict(**{'num_classes': 3}, strides=tuple(s // 2 for s in _base_.model.bbox_head.strides)),
    # a dict within a tuple, and a tuple within a dict
    train_cfg=dict(assigner=dict(center_radius=(dict(a=1), (2, [3, {'b': 4}])))))
train_pipeline = _base_.train_pipeline[:1] + _base_.train_pipeline[2:]
_base_.train_dataset.pipeline = train_pipeline
train_dataloader = dict(dataset={{_base_.train_dataset}})

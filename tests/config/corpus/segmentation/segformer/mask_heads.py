_base_ = ['../pspnet/pspnet_r50_city-512x1024.py']
crop_size = _base_.crop_size
num_things, num_stuff = 8, 11
num_classes = num_things + num_stuff
depths = [2, 2, 18, 2]
optimizer = dict(type='AdamW', lr=0.0001, eps=1e-8, betas=(0.9, 0.999))
model = dict(
    decode_head=dict(
        _delete_=True,
        type='MaskFormerHead',
        strides=[4, 8, 16, 32],
        num_queries=100,
        positional_encoding=dict(num_feats=128, normalize=True),
        loss_cls=dict(type='mmdet.CrossEntropyLoss', class_weight=[1.0] * num_classes + [0.1]),
        loss_mask=dict(type='mmdet.FocalLoss', _scope_='mmdet'),
        train_cfg=dict(
            assigner=dict(type='mmdet.HungarianAssigner', match_costs=[
                dict(type='mmdet.ClassificationCost', weight=2.0),
                dict(type='mmdet.DiceCost', weight=5.0, pred_act=True, eps=1.0)]),
            sampler=dict(type='mmdet.MaskPseudoSampler'))),
    auxiliary_head=[*_base_.model.auxiliary_head, dict(type='Third')])
optim_wrapper = dict(type='OptimWrapper', optimizer=optimizer, paramwise_cfg=dict(
    custom_keys={
        f'backbone.stages.{i}.blocks.{j}.norm': dict(lr_mult=0.1 ** (i + 1))
        for i, d in enumerate(depths) for j in range(d) if j % 2 == 0}))
resized = [int(crop_size[0] * x * 0.1) for x in range(5, 21)]
train_pipeline = [dict(type='ResizeShortest', scales=[int(1024 * x * 0.1) for x in range(5, 21)], resize_type='mmseg.ResizeShortestEdge')]

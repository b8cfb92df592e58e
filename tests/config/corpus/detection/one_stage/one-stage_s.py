_base_ = ('../_base_/models/' 'one_stage.py')
img_scale = (640, 640)  # width, height
max_epochs = 300
num_last_epochs = 15
interval = 10
base_lr = 0.01
num_samples_per_gpu, num_workers = 8, 4
[train_ann, val_ann] = ['train.json', 'val.json']
first, *rest = (1, 2, 3)
a = b = dict(shared=True)
train_pipeline = [
    dict(type='Mosaic', img_scale=img_scale, pad_val=114.0),
    dict(
        type='RandomAffine',
        scaling_ratio_range=(0.1, 2),
        # img_scale is (width, height)
        border=(-img_scale[0] // 2, -img_scale[1] // 2)),
    dict(type='YOLOXHSVRandomAug'),
]
train_dataset = dict(
    # use the wrapper to append mosaic
    type='MultiImageMixDataset',
    dataset=dict(type='CocoDataset', ann_file=train_ann, pipeline=[]),
    pipeline=train_pipeline)
train_dataloader = dict(batch_size=num_samples_per_gpu, num_workers=num_workers, dataset=train_dataset)
param_scheduler = [
    dict(type='mmdet.QuadraticWarmupLR', by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=base_lr * 0.05, begin=5, T_max=max_epochs - num_last_epochs,
         end=max_epochs - num_last_epochs, by_epoch=True, convert_to_iter_based=True),
    dict(type='ConstantLR', by_epoch=True, factor=1, begin=max_epochs - num_last_epochs, end=max_epochs)
]
custom_hooks = [
    dict(type='YOLOXModeSwitchHook', num_last_epochs=num_last_epochs, priority=48),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0001, update_buffers=True, priority=49)
]
auto_scale_lr = dict(base_batch_size=8 * num_samples_per_gpu)

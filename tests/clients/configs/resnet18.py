"""resnet18 of mmpretrain on two folders of made pictures: 4 iterations an epoch, 2 epochs."""

_base_ = "mmpretrain::resnet/resnet18_8xb32_in1k.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=32),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=36, edge="short"),
    dict(type="CenterCrop", crop_size=32),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True, type="CustomDataset", data_root="data/classes/train", pipeline=train_pipeline, with_label=True
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True, type="CustomDataset", data_root="data/classes/val", pipeline=test_pipeline, with_label=True
    ),
)
test_dataloader = val_dataloader
model = dict(head=dict(num_classes=2, topk=(1,)))
data_preprocessor = dict(num_classes=2)
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=0.01))
train_cfg = dict(max_epochs=2)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=3),
    dict(type="MultiStepLR", by_epoch=True, milestones=[1], gamma=0.1),
]
custom_hooks = [dict(type="EMAHook", momentum=0.1)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1))
log_processor = dict(window_size=1)  # each loss by itself, not the mean of the last ten
randomness = dict(seed=3, deterministic=True)

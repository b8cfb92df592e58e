"""pspnet of mmsegmentation with resnet18 on made pictures: 6 iterations, validation after the third."""

_base_ = "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(96, 64), ratio_range=(0.8, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(48, 48), cat_max_ratio=0.9),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]
data = dict(
    type="BaseSegDataset",
    data_root="data/masks",
    data_prefix=dict(img_path="img", seg_map_path="ann"),
    img_suffix=".png",
    seg_map_suffix=".png",
    metainfo=dict(classes=("red", "blue", "green"), palette=[[255, 0, 0], [0, 0, 255], [0, 255, 0]]),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(_delete_=True, **data, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(_delete_=True, **data, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(48, 48)),
    backbone=dict(norm_cfg=norm_cfg),
    decode_head=dict(norm_cfg=norm_cfg, num_classes=3),
    auxiliary_head=dict(norm_cfg=norm_cfg, num_classes=3),
)
train_cfg = dict(max_iters=6, val_interval=3)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=3))
randomness = dict(seed=3, deterministic=True)

"""retinanet of mmdetection with resnet18 on made pictures: 4 iterations an epoch, 2 epochs."""

_base_ = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=(96, 96), ratio_range=(0.7, 1.3), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(96, 96), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
data = dict(
    _delete_=True,
    type="CocoDataset",
    data_root="data/boxes",
    ann_file="boxes.json",
    data_prefix=dict(img="img/"),
    metainfo=dict(classes=("red", "blue"), palette=[(255, 0, 0), (0, 0, 255)]),
)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(**data, pipeline=train_pipeline)
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(**data, pipeline=test_pipeline, test_mode=True)
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="data/boxes/boxes.json")
test_evaluator = val_evaluator
model = dict(
    backbone=dict(init_cfg=None),
    bbox_head=dict(num_classes=2),
    test_cfg=dict(score_thr=0.0, nms_pre=50, max_per_img=20),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
train_cfg = dict(max_epochs=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1))
randomness = dict(seed=3, deterministic=True)

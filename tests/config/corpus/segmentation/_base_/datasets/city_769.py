_base_ = './city.py'
crop_size = (769, 769)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

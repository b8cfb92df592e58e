dataset_type = 'ImageNet'
data_preprocessor = dict(num_classes=1000, mean=[123.675, 116.28, 103.53], to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224),
    dict(type='PackClsInputs'),
]
train_dataloader = dict(batch_size=32, dataset=dict(type=dataset_type, pipeline=train_pipeline), sampler=dict(type='DefaultSampler', shuffle=True))
val_evaluator = [dict(type='Accuracy', topk=(1, 5)), dict(metrics=[dict(type='Inner')])]

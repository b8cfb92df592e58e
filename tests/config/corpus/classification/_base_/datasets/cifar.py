dataset_type = 'CIFAR10'
data_preprocessor = dict(num_classes=10, mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255], to_rgb=False)
train_pipeline = [dict(type='RandomCrop', crop_size=32, padding=4), dict(type='PackInputs')]
train_dataloader = dict(batch_size=16, num_workers=2, dataset=dict(type=dataset_type, data_prefix='data/cifar10', split='train', pipeline=train_pipeline), sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(batch_size=16, dataset=dict(type=dataset_type, data_prefix='data/cifar10/', split='test'))
val_evaluator = dict(type='Accuracy', topk=(1, ))

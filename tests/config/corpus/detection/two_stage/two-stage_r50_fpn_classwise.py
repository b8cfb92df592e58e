_base_ = ['../_base_/models/two_stage.py', '../_base_/datasets/coco_detection.py', '../_base_/schedules/schedule_1x.py', '../_base_/default_runtime.py']
class_name = ('cat', )
num_classes = len(class_name)
metainfo = dict(classes=class_name, palette=[(20, 220, 60)])
data_root = './data/cat/'
model = dict(roi_head=dict(bbox_head=dict(num_classes=num_classes)))
train_dataloader = dict(
    batch_size=2 * _base_.train_dataloader.batch_size,
    dataset=dict(
        type='RepeatDataset',
        times=3,
        dataset=dict(
            type=_base_.dataset_type, data_root=data_root, metainfo=metainfo, ann_file='annotations/trainval.json',
            data_prefix=dict(img='images/'), pipeline=_base_.train_pipeline)))
val_dataloader = dict(dataset=dict(metainfo=metainfo, data_root=data_root, ann_file='annotations/test.json', data_prefix=dict(img='images/')))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{data_root}annotations/test.json')
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=_base_.optim_wrapper.optimizer.lr / 8))
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=2, save_best='auto'), logger=dict(type='LoggerHook', interval=5))

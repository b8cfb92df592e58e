_base_ = ['./track_half.py']
detector = _base_.model.detector
detector.backbone = dict(type='ResNet', depth=50, style='caffe', norm_cfg=dict(requires_grad=False, type='BN'))
detector.test_cfg.rpn.nms_pre = 500
model = dict(
    _delete_=True,
    type='SoftTeacher',
    detector=detector,
    semi_train_cfg=dict(freeze_teacher=True, sup_weight=1.0, unsup_weight=4.0),
)
branch_field = ['sup', 'unsup_teacher', 'unsup_student']
color_space = [[dict(type='ColorTransform')], [dict(type='AutoContrast')]]
strong_pipeline = [
    dict(type='Resize', scale=(1333, 800)),
    dict(type='RandomOrder', transforms=[dict(type='RandAugment', aug_space=color_space, aug_num=1)]),
    dict(type='PackDetInputs', meta_keys=('img_id', 'homography_matrix')),
]
unsup_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiBranch', branch_field=branch_field, unsup_teacher=strong_pipeline, unsup_student=strong_pipeline),
]
labeled_dataset = dict(type='CocoDataset', pipeline=_base_.train_pipeline)
unlabeled_dataset = dict(type='CocoDataset', pipeline=unsup_pipeline)
train_dataloader = dict(
    batch_size=5,
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[labeled_dataset, unlabeled_dataset]),
    sampler=dict(_delete_=True, type='MultiSourceSampler', batch_size=5, source_ratio=[1, 4]))

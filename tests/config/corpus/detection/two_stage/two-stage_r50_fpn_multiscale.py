_base_ = ['./two-stage_r50_fpn_1x.py']

scales = [(480 + 32 * i, 1333) for i in range(11)]
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args={{_base_.backend_args}}),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='RandomChoiceResize', scales=scales, keep_ratio=True)],
            [
                dict(type='RandomChoiceResize', scales=[(400, 4200), (500, 4200), (600, 4200)], keep_ratio=True),
                dict(type='RandomCrop', crop_type='absolute_range', crop_size=(384, 600)),
            ],
        ]),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_dataloader = {{ _base_.val_dataloader }}
val_evaluator = dict(ann_file={{_base_.data_root}} , metric=['bbox', {{ _base_.val_evaluator.metric }}])
backend = ({{_base_.env_cfg.dist_cfg.backend}}, {{ _base_.log_level }}, [{{_base_.train_cfg}}, {'x': {{_base_.visualizer.name}}}])

model = dict(
    type='OneStage',
    backbone=dict(type='CSPDarknet', deepen_factor=0.33, widen_factor=0.5, act_cfg=dict(type='Swish')),
    neck=dict(type='PAFPN', in_channels=[128, 256, 512], out_channels=128, num_csp_blocks=1),
    bbox_head=dict(
        type='AnchorFreeHead',
        num_classes=80,
        strides=(8, 16, 32),
        loss_cls=dict(type='FocalLoss', gamma=2.0, alpha=0.25),
        loss_obj=dict(type='BCE', reduction='sum')),
    train_cfg=dict(assigner=dict(type='SimOTA', center_radius=2.5)),
    test_cfg=dict(score_thr=0.01, nms=dict(type='nms', iou_threshold=0.65)))

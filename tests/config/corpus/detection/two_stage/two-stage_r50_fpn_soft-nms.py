_base_ = 'two-stage_r50_fpn_1x.py'
model = dict(
    test_cfg=dict(
        rpn=dict(nms=dict(iou_threshold=0.8)),
        rcnn=dict(nms=dict(_delete_=True, type='soft_nms', iou_threshold=.5, min_score=0.05))),
    train_cfg=dict(_delete_=False, rcnn=dict(debug=True)),
    extra=dict(_delete_=True, nothing='was here'),
)
new_top = dict(_delete_=True, a=1, nested=dict(_delete_=True, b=2))
env_cfg = dict(mp_cfg=dict(_delete_=True))

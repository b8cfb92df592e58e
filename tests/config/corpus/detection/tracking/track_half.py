_base_ = [
    '../_base_/models'
    '/two_stage.py',
    '../_base_/datasets/coco_detection.py', '../_base_' + '/default_runtime.py'
]
model = dict(
    type='Tracker',
    detector=_base_.model,
    reid=dict(type='BaseReID', backbone=dict(type='ResNet', depth=50, out_indices=(3, ))),
    tracker=dict(type='SORTTracker', obj_score_thr=0.5, reid=dict(img_scale=(256, 128), img_norm_cfg=None)))
del _base_.model
del _base_.val_evaluator
val_evaluator = [dict(type='CocoVideoMetric', metric=['bbox']), dict(type='MOTChallengeMetric', metric=['HOTA', 'CLEAR'])]

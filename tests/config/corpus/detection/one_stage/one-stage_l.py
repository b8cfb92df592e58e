_base_ = './one-stage_s.py'
deepen_factor = 1.0
widen_factor = 1.0
model = dict(
    backbone=dict(deepen_factor=deepen_factor, widen_factor=widen_factor),
    neck=dict(in_channels=[int(c * widen_factor / 0.5) for c in _base_.model.neck.in_channels],
              out_channels=round(256 * widen_factor)),
    bbox_head=dict(loss_cls=dict(gamma=_base_.model.bbox_head.loss_cls.gamma + .5)))
custom_hooks = _base_.custom_hooks + [dict(type='SyncNormHook')]
work_dir = './work_dirs/{{ fileBasenameNoExtension }}'

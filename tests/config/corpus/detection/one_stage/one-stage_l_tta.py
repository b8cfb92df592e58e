_base_ = ['./one-stage_l.py', '../_base_/default_runtime.py']
tta_model = dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.65), max_per_img=100))
img_scales = [_base_.img_scale, (320, 320), (960, 960)]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='Resize', scale=s, keep_ratio=True) for s in img_scales],
        [dict(type='RandomFlip', prob=1.), dict(type='RandomFlip', prob=0.)],
        [dict(type='Pad', pad_to_square=True, pad_val=dict(img=(114.0, 114.0, 114.0)))],
    ])
]
default_hooks = dict(checkpoint=None)
visualizer = None
vis_backends = {{_base_.vis_backends}}
for hook in _base_.custom_hooks:
    hook['from'] = 'base'
    if hook.type == 'EMAHook':
        hook.momentum *= 2
custom_hooks = _base_.custom_hooks

_base_ = './two-stage_r50_fpn_1x.py'
model = _base_.model
model.backbone.depth = 34
model['neck'].pop('num_outs')
del model.test_cfg['rpn']
train_pipeline = _base_.train_pipeline
train_pipeline[2]['scale'] = (800, 600)
train_pipeline += [dict(type='Late')]
val = _base_.val_dataloader
val.dataset.update(ann_file='other.json', data_prefix=dict(seg='s/'))
pair = [val, val]
hooks = list(_base_.default_hooks.keys())
n_hooks = len(_base_.default_hooks)
has = 'timer' in _base_.default_hooks, 'x' in _base_, _base_.get('nothing', 'default'), _base_.get('log_level')
types = sorted(v['type'] for v in _base_.default_hooks.values())
copied = dict(_base_.env_cfg)
merged = dict(**_base_.env_cfg, extra=1)
joined = {**_base_.env_cfg.mp_cfg, 'extra': 2}
both = _base_.env_cfg.mp_cfg | dict(opencv_num_threads=4)

_base_ = './two-stage_swin-t_fpn_2x.py'
# fp16 settings: the dict of the base is kept, its type changed
optim_wrapper = dict(type='AmpOptimWrapper', paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=.1))), loss_scale='dynamic')
train_cfg = dict(max_epochs=36, )
param_scheduler = _base_.param_scheduler
param_scheduler[1]['milestones'] = [27, 33]
param_scheduler[1].end = 36

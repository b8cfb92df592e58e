_base_ = '../detection/two_stage/two-stage_r50_fpn_1x.py'
val_dataloader = [_base_.val_dataloader, dict(type='Second')]
val_evaluator = [dict(type='A'), dict(type='B', metric=['x'])]
train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=3)
optim_wrapper = None
param_scheduler = None

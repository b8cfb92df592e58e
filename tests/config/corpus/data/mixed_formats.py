_base_ = ['child.yaml', './extra.yml']
train_cfg = dict(val_interval=_base_.train_cfg.max_epochs // 2)
env_cfg = dict(_delete_=True, only=_base_.env_cfg.mp_cfg)
steps = [*_base_.param_scheduler.milestones, 100]
optimizer = {{_base_.optim_wrapper.optimizer}}
extra = dict(list=_base_.extra.list + (4, ) if isinstance(_base_.extra.list, tuple) else _base_.extra.list + [4])

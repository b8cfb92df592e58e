_base_ = ['../_base_/models/resnet18.py', '../../data/schedule.yaml', '../../data/runtime.json']
train_cfg = dict(max_epochs=_base_.train_cfg.max_epochs * 2)
milestones = {{ _base_.param_scheduler.milestones }}

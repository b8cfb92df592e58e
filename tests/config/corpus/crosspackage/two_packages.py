_base_ = ['mmdet::rtmdet/rtmdet_tiny.py', 'mmcls::_base_/datasets/imagenet.py']
backbone = {{_base_.model}}
model = dict(_delete_=True, type='Wrap', inner=_base_.model, pipeline=_base_.train_pipeline)
hooks = [_base_.val_evaluator[1], _base_.log_processor]

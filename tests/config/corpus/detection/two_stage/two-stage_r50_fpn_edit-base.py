_base_ = './two-stage_r50_fpn_1x.py'

_base_.model.backbone.depth = 18
_base_.model['neck']['in_channels'] = [64, 128, 256, 512]
_base_.model.rpn_head.anchor_generator.update(dict(scales=[4], extra=dict(a=1)))
_base_.model.rpn_head.update(loss_cls=dict(loss_weight=2.0), num_convs=2)
del _base_.model.train_cfg.rpn
del _base_.model['test_cfg']['rcnn']
_base_.model.roi_head.pop('bbox_head')
_base_.model.data_preprocessor.pop('missing', None)
_base_.train_pipeline.insert(2, dict(type='Mosaic', img_scale=(640, 640)))
_base_.train_dataloader.dataset.pipeline = _base_.train_pipeline
_base_['log_level'] = 'DEBUG'
_base_.train_cfg.max_epochs += 1
_base_.vis_backends += [dict(type='TensorboardVisBackend')]
_base_.param_scheduler.append(dict(type='ConstantLR', factor=1))
_base_.optim_wrapper.merge(dict(optimizer=dict(_delete_=True, type='Adam', lr=1e-3), clip_grad=dict(max_norm=35)))
_base_.new_key = 'set on the base'
del _base_.auto_scale_lr
_base_.pop('resume')

model = dict(neck=dict(num_outs=4))

_base_ = 'mmcls::mobilenet/mobilenet-v2_8xb32.py'
_base_.train_cfg.max_epochs = 30
custom_imports = dict(imports=['json'], allow_failed_imports=False)
architecture = _base_.model
architecture.update({'init_cfg': {'type': 'Pretrained', 'checkpoint': 'x.pth'}, 'data_preprocessor': {}})
data_preprocessor = {'type': 'mmcls.ClsDataPreprocessor', **{{_base_.data_preprocessor}}} if False else _base_.data_preprocessor
model = dict(_delete_=True, _scope_='mmrazor', type='ItePruneAlgorithm', architecture=architecture, mutator_cfg=dict(parse_cfg=dict(type='ChannelAnalyzer', tracer_type='FxTracer')))

_base_ = [
    'mmcls::_base_/datasets/imagenet.py',
    'mmcls::_base_/default_runtime.py',
    '../classification/_base_/schedules/sgd.py',
]
supernet = dict(type='mmcls.ImageClassifier', backbone=dict(type='mmrazor.Searchable', arch_setting=[[8, 2, 1], [16, 4, 2]]))
mutables = {f'stage{i}.block{j}': dict(type='OneShotMutableOP', candidates=['k3', 'k5']) for i in range(2) for j in range(2)}
model = dict(type='mmrazor.SPOS', architecture=supernet, mutator=dict(type='mmrazor.NasMutator', mutables=mutables), _scope_='mmrazor')
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline[::-1]), sampler={{_base_.train_dataloader.sampler}})
model_wrapper_cfg = dict(type='mmrazor.SPOSDDP', broadcast_buffers=False, find_unused_parameters=False)

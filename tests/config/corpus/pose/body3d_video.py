_base_ = 'mmpose::_base_/default_runtime.py'
seq_len: int = 27
causal: bool = False
joints = tuple(range(17))
skeleton = list(zip(joints[:-1], joints[1:]))
weights = {j: 1.0 / (1 + j) for j in joints}
flip = dict(zip(map(str, joints), reversed(joints)))
model = dict(type='PoseLifter', backbone=dict(type='TCN', kernel_sizes=(3, ) * 3, causal=causal), seq=slice(0, seq_len, 2), every=slice(None))
optim_wrapper = dict(optimizer=dict(type='Adam', lr=5e-4), clip_grad=dict(max_norm=1.))
param_scheduler = [dict(type='StepLR', step_size=100000, gamma=0.96, end=80 if not causal else 10, by_epoch=False)]
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(
        type='mmpose.MaskedHook', priority='VERY_HIGH',
        rules=[{'when': {1, 2, 3}, 'action': ('skip', None)}, {'when': frozenset(('a', 'b')), 'action': (..., )}])
]

default_scope = 'mmcls'
default_hooks = dict(timer=dict(type='IterTimerHook'), logger=dict(type='LoggerHook', interval=100))
log_level = 'INFO'
randomness = dict(seed=None, deterministic=False)

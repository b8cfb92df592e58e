default_scope = 'mmpose'
custom_hooks = [dict(type='SyncBuffersHook')]
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=.1))

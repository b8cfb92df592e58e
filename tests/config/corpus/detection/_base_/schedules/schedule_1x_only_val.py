val_cfg = dict(type='ValLoop', _scope_='mmengine')
test_cfg = dict(type='TestLoop', _scope_='mmengine')
train_cfg = dict(by_epoch=True, max_epochs=int(1e1), dynamic_intervals=[(8, 1)])

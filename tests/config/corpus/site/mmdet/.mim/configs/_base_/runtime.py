default_scope = 'mmdet'
log_processor = dict(type='LogProcessor', window_size=50)

_base_ = ['../llm/_base_/runtime.py', '../llm/child_named.py']
default_hooks = dict(logger=dict(interval=1), timer=dict(_delete_=True, type='Timer'))
model = dict(inner=dict(head=dict(vocab=1)))
level = {{ _base_.log_level }}
lr = _base_.lr * 2

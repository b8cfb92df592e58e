from mmengine.config import read_base

with read_base():
    from ._base_.model import *
    from ._base_.data import *

plain = dict(a=dict(b=1))
plain.update(dict(a=dict(c=2)))  # a plain dict replaces
model.update(norm=dict(c=2))  # a dict of a base merges
model.setdefault('missing', dict(x=1))
model.setdefault('norm', 'stays')
popped = model.pop('layers')
gone = model.pop('never there', None)
model |= dict(head=dict(made='by |='))
either = template | dict(extra=dict(a=1))
unpacked = {**template, 'SYSTEM': 's'}
keys = list(model)
pairs = [(k, v) for k, v in template.items()]
values = list(template.values())
got = template.get('nothing', 'default')
n = len(template)
copied = model.copy()
copied.depth = 5
is_dict = isinstance(model, dict)
train_dataloader['dataset'].update({'template': {'NEW': 1}})
train_dataloader.dataset.template.merge({'_delete_': True, 'ONLY': 2})
del model.head

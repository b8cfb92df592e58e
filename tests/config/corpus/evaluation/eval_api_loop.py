from mmengine.config import read_base

with read_base():
    from .models.api_large import models as _models
    from .datasets.quiz.quiz_ppl import quiz_ppl_datasets

settings = [
    ('fast', 'org/fast', 1),
    ('slow', 'org/slow', 2),
]
models = []
for abbr, path, num_gpus in settings:
    model = dict(_models[0])
    model.update(abbr=abbr, path=path, run_cfg=dict(num_gpus=num_gpus, num_procs=num_gpus))
    models.append(model)
for abbr, *_rest in settings[:1]:
    models.append(dict(abbr=abbr, rest=_rest))
datasets = [*quiz_ppl_datasets]
datasets[0]['abbr'] += '-first'
for d in datasets[1:]:
    d.update({'num': len(d)})
    d['infer_cfg']['prompt_template']['template'].pop('0')
try:
    undefined_name
except NameError as error:
    message = 'caught'

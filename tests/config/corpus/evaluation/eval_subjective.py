from copy import deepcopy

from mmengine.config import read_base

with read_base():
    from .datasets.judge_prompt import judge_datasets, GRADER_TEMPLATE
    from .models.hf_small import models as hf_small
    from .models.api_large import models as judge_models

from benchsuite.partitioners.sub_naive import SubjectiveNaivePartitioner

api_meta_template = dict(round=[dict(role='HUMAN', api_role='HUMAN'), dict(role='BOT', api_role='BOT', generate=True)])
datasets = deepcopy(judge_datasets)
for dataset in datasets:
    dataset['mode'] = 'm2n'
    dataset['judge'] = dataset.pop('infer_cfg')
models = sum([v for k, v in locals().items() if k == 'hf_small' or k.endswith('_models')], [])
judge_models = [model for model in judge_models if 'mini' in model['abbr']]
eval = dict(partitioner=dict(type=SubjectiveNaivePartitioner, models=models, judge_models=judge_models))
header = GRADER_TEMPLATE.split('\n')[0]

from mmengine.config import read_base

with read_base():
    from .datasets.quiz.quiz_gen import quiz_datasets
    from .datasets.needle.needle import needle_datasets
    from .models.hf_small import models as hf_small
    from .models.api_large import models as api_large, api_meta_template
    from .summarizers.summary import summarizer

datasets = sum((v for k, v in locals().items() if k.endswith('_datasets') or k == 'datasets'), [])
models = [*hf_small, *api_large]
for d in datasets:
    d['infer_cfg' if 'infer_cfg' in d else 'extra_cfg'] = dict(d.get('infer_cfg', {}), max_out_len=16)
for m in models:
    m['max_out_len'] = 1
    if 'run_cfg' not in m:
        m.update(run_cfg=dict(num_gpus=0))
work_dir = 'outputs/' + '_'.join(m['abbr'] for m in models)

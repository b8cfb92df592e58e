from mmengine.config import read_base

with read_base():
    from benchsuite.configs.datasets.sums_gen import sums_datasets
    from benchsuite.configs.models.small import models as small
    from mmdet.configs._base_.runtime_new import log_level, default_hooks as hooks

datasets = [*sums_datasets]
models = sum([v for k, v in locals().items() if k.startswith('small')], [])

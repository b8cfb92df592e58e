from mmengine.config import read_base

b_datasets = ['defined before the bases']

with read_base():
    from .order_parts import z_datasets, a_datasets
    from .order_parts import m_datasets as c_datasets

z_datasets = z_datasets + ['changed, but in its old place']
d_datasets = ['last']
datasets = []
for key in [k for k in locals() if k.endswith('_datasets')]:
    datasets.extend(locals()[key])
names = [k for k in locals().keys() if not k.startswith('__') and k not in ('read_base', 'LazyObject')]

from mmengine.config import read_base

with read_base():
    from .datasets.quiz.quiz_gen_4baadb import *
    from .datasets.quiz.quiz_ppl import quiz_ppl_datasets
    from .models.api_large import models

from benchsuite.partitioners import NaivePartitioner, SizePartitioner
from benchsuite.runners import LocalRunner
from benchsuite.tasks import OpenICLEvalTask, OpenICLInferTask

found = sorted(k for k in globals() if k.endswith('_datasets'))
datasets = []
for name in found:
    datasets += globals()[name]
infer = dict(
    partitioner=dict(type=SizePartitioner, max_task_size=2000, gen_task_coef=20),
    runner=dict(type=LocalRunner, max_num_workers=32, task=dict(type=OpenICLInferTask), retry=5))
eval = dict(partitioner=dict(type=NaivePartitioner, n=10), runner=dict(type=LocalRunner, task=dict(type=OpenICLEvalTask)))
globals()['made_by_globals'] = [1, 2]
globals().update(also_made=dict(a=1))
locals()['made_by_locals'] = 'x'
prefixes = {k.split('_')[0] for k in locals() if k.startswith('quiz')}

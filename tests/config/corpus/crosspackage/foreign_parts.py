_base_ = ['../distill/teacher_student.py']
arch = _base_.model.architecture
arch.head.update(dict(loss=dict(use_soft=True)))
pipelines = dict(a=_base_.train_pipeline, b=[{**step, '_scope_': 'mmcls'} for step in _base_.train_pipeline])
model = dict(architecture=arch)

_base_ = ['./teacher_student.py']
model = dict(architecture=dict(backbone=dict(depth=34)), teacher=dict(_delete_=True, type='Other'))
_base_.model.distiller.distill_losses.loss_kl.tau = 4

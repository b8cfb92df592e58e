_base_ = ['mmseg::_base_/default_runtime.py', 'mmcls::resnet/resnet18_8xb32.py']
student = _base_.model
student.head.num_classes = 20
student._scope_ = 'mmcls'
teacher_ckpt = 'teacher.pth'
teacher = dict(
    cfg_path='mmcls::resnet/resnet50_8xb32.py',
    pretrained=False)
model = dict(
    _scope_='mmrazor',
    _delete_=True,
    type='SingleTeacherDistill',
    architecture=student,
    teacher=teacher,
    teacher_ckpt=teacher_ckpt,
    distiller=dict(
        type='ConfigurableDistiller',
        student_recorders=dict(fc=dict(type='ModuleOutputs', source='head.fc')),
        distill_losses=dict(loss_kl=dict(type='KLDivergence', tau=1, loss_weight=3)),
        loss_forward_mappings=dict(loss_kl=dict(preds_S=dict(from_student=True, recorder='fc')))))
find_unused_parameters = True
val_cfg = dict(_delete_=True, type='mmrazor.SingleTeacherDistillValLoop')
_deprecation_ = dict(expected='./teacher_student_new.py', reference='https://example.org/pull/1')

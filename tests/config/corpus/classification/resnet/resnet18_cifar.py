_base_ = ['../_base_/models/resnet18.py', '../_base_/datasets/cifar.py', '../_base_/schedules/sgd.py']
_base_.model.head.num_classes = 10
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))

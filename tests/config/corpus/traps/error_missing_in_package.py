_base_ = 'mmcls::resnet/resnet19_8xb32.py'

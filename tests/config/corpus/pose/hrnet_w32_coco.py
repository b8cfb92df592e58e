_base_ = ['_base_/runtime.py']

# runtime
train_cfg = dict(max_epochs=210, val_interval=10)
# codec settings
codec = dict(type='MSRAHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2)
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='HRNet',
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(4, ), num_channels=(64, )),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(4, 4), num_channels=(32, 64)))),
    head=dict(type='HeatmapHead', out_channels=17, deconv_out_channels=None, decoder=codec),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True))
# base dataset settings
dataset_type = 'CocoDataset'
data_mode = 'topdown'
file_client_args = dict(backend='disk')
val_pipeline = [
    dict(type='LoadImage', backend_args=_base_.backend_args),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
]
val_evaluator = [dict(type='PCKAccuracy', thr=0.2), dict(type='AUC'), dict(type='EPE')]
test_evaluator = val_evaluator

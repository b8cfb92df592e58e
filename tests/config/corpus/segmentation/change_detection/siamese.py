_base_ = ['../_base_/models/encoder_decoder.py', '../_base_/datasets/city.py']
model = dict(
    type='SiamEncoderDecoder', data_preprocessor=dict(_delete_=True, type='DualInput', test_cfg=dict(size_divisor=32)),
    neck=dict(type='FeatureFusionNeck', policy='concat'),
    decode_head=dict(sampler=dict(type='mmseg.OHEMPixelSampler', thresh=0.7, min_kept=100000), num_classes=2))
train_dataloader = dict(dataset=dict(data_prefix=dict(_delete_=True, img_path_from='train/A', img_path_to='train/B')))
custom_imports = dict(imports=['json', 'not_there_at_all'], allow_failed_imports=True)

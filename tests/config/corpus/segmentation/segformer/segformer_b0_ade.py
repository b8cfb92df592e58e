_base_ = ['../_base_/models/encoder_decoder.py', '../_base_/schedules/schedule_40k.py']
checkpoint = 'https://example.org/mit_b0_20220624-7e0fe6dd.pth'  # noqa
norm_cfg = dict(type='SyncBN', requires_grad=True)
num_classes = 150
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(_delete_=True, type='MixVisionTransformer', embed_dims=32, num_heads=[1, 2, 5, 8],
                  patch_sizes=[7, 3, 3, 3], sr_ratios=[8, 4, 2, 1], qkv_bias=True,
                  init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    decode_head=dict(type='SegformerHead', in_channels=[32, 64, 160, 256], in_index=[0, 1, 2, 3], num_classes=num_classes),
    auxiliary_head=None)
# optimizer
embed_multi = dict(lr_mult=1.0, decay_mult=0.0)
custom_keys = {
    'pos_block': dict(decay_mult=0.),
    'head': dict(lr_mult=10.),
    'level_embed': embed_multi,
}
custom_keys.update({
    f'backbone.stages.{stage_id}.blocks.{block_id}.norm': dict(lr_mult=.1, decay_mult=0.)
    for stage_id, num_blocks in enumerate([2, 2, 3, 1])
    for block_id in range(num_blocks)
})
custom_keys.update({f'backbone.stages.{i}.downsample.norm': embed_multi for i in range(3)})
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.00006, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(custom_keys=custom_keys, norm_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=1500, end=160000, by_epoch=False)
]
val_dataloader = dict(batch_size=1)
test_dataloader = val_dataloader

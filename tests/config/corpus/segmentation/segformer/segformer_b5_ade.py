_base_ = ['./segformer_b0_ade.py']
checkpoint = 'https://example.org/mit_b5.pth'
# model settings
backbone_embed_multi = {k: v for k, v in _base_.custom_keys.items() if 'norm' in k and v.get('lr_mult', 1) < 1}
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint), embed_dims=64, num_layers=[3, 6, 40, 3]),
    decode_head=dict(in_channels=[64, 128, 320, 512]))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone.new': dict(lr_mult=0), **backbone_embed_multi}))

_base_ = ['./hrnet_w32_coco.py']
codec = _base_.codec
codec['input_size'] = (288, 384)
num_keypoints = 26
keypoint_mapping_coco = [(i, i) for i in range(17)] + [(17, 20)]
aic = [(0, 6), (1, 8), (2, 10)]
mapping = {'coco': keypoint_mapping_coco, 'aic': aic}
datasets = []
for name, pairs in mapping.items():
    datasets.append(dict(type=f'{name.title()}Dataset', pipeline=[dict(type='KeypointConverter', num_keypoints=num_keypoints, mapping=pairs)]))
del name, pairs
train_dataloader = dict(dataset=dict(type='CombinedDataset', metainfo=dict(from_file='configs/_base_/datasets/halpe26.py'), datasets=datasets, sample_ratio_factor=[1.0, .5]))
model = dict(head=dict(out_channels=num_keypoints, decoder=codec, loss=dict(type='KLDiscretLoss', beta=10.)), neck=None)
if model['neck'] is None:
    model.pop('neck')
else:
    raise ValueError('there is a neck')
assert len(datasets) == 2, 'two datasets'
custom_hooks = _base_['custom_hooks'] + [dict(type='EMAHook')]
sizes = {key: value['input_size'] for key, value in dict(codec=codec).items()}

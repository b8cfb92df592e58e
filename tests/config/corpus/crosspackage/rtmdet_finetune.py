_base_ = ['mmdet::rtmdet/rtmdet_tiny.py', ]
model = dict(bbox_head=dict(num_classes=2, nested=dict(type='New')), test_cfg=dict(_delete_=True, score_thr=.1))

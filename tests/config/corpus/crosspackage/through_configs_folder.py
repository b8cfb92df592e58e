_base_ = 'mmyolo::yolo/local.py'
model = dict(head=dict(n=1))

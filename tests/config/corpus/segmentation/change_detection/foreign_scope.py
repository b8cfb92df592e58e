_base_ = 'mmseg::_base_/models/foreign_head.py'
model = dict(decode_head=dict(num_classes=4))
head_copy = _base_.model.decode_head
second = {{ _base_.second }}

_base_ = './plain_base.py'
ok = 1
depth = {{ _base_.model.depht }}

_base_ = './plain_base.py'
data_root = 'x'
size = dict(w=1)

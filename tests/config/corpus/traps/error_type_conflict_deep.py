_base_ = './plain_base.py'
model = dict(
    inner=dict(
        a=dict(x=1)))

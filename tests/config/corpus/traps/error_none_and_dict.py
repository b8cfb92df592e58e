_base_ = './plain_base.py'

nothing = dict(a=1)

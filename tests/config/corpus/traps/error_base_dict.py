_base_ = dict(a='./plain_base.py')

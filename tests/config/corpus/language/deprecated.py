_base_ = './long_chain/level1.py'
_deprecation_ = dict(expected='level2.py')
model = dict(a='deprecated')

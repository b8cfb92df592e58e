_base_ = '../' + 'delete' + '_base.py'
a = dict(new=1)

_base_ = ['../delete_base.py'] + ['../names.py'] * 1
a = dict(new=1)

_base_ = '../language/delete_base.py'
k = {'0': dict(old=2)}

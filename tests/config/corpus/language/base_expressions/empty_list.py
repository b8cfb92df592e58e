_base_ = []
a = 1
n = len(_base_)

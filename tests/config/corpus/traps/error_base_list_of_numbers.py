_base_ = ['./plain_base.py', 3]

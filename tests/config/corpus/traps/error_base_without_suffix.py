_base_ = ['./plain_base']

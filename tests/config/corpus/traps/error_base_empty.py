_base_ = ''

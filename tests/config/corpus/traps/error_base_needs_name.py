folder = './'
_base_ = folder + 'plain_base.py'

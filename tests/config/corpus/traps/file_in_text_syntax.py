_base_ = './plain_base.py'
here = __file__
parts = __file__.split('/')[-2:]

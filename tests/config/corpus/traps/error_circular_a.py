_base_ = './error_circular_b.py'

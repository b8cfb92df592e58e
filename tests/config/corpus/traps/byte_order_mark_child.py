_base_ = '../language/byte_order_mark.py'
b = dict(d=3)

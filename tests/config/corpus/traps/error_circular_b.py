_base_ = ['./error_circular_c.py']

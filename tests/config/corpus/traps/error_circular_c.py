
_base_ = 'error_circular_a.py'

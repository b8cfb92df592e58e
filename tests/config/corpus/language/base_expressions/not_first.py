"""The base need not be the first statement."""
width = 3
_base_ = '../delete_base.py'
a = dict(width=width)

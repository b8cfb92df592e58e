_base_ = './reserved_text.py'
del _base_.text
ok = 1

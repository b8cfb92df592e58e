_base_ = './plain_base.py'
nested = {{ _base_.a.b }}
flat = {{ _base_.a_b }}

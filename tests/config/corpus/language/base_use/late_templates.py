_base_ = '../delete_base.py'
# a template stands for the value at the end of the file
before = {{ _base_.a }}
number = {{ _base_.a.old }}
_base_.a.old = 100
after = {{ _base_.a }}
plain = _base_.a.old
before_delete = _base_.b
_base_.c = dict(inner='replaced')
replaced = [{{ _base_.c }}]

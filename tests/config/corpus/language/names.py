_single = 1
_ = 2
__private = 3
__dunder__ = 4
ünïcode = 'identifier'
type = 'a name of a builtin'
list = [1]
scope = 'x'
name = dict(type=type, list=list)
items = 'top-level key named like a method'
keys = ['k']
update = 1

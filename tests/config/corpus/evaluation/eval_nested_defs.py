from mmengine.config import read_base

with read_base():
    from .datasets.quiz.quiz_ppl import *

limit = 2


def first(items, n=limit):
    def inner(i):
        return items[i]['abbr'] + suffix
    return [inner(i) for i in range(n)]


suffix = '-x'
abbrs = first(quiz_ppl_datasets)
counter = 0


def count():
    global counter
    counter += 1
    return counter


counted = [count() for _ in range(3)]
ternary = [('odd' if i % 2 else 'even') for i in counted]
flattened = [x for pair in zip(counted, ternary) for x in pair]
joined = dict(sum((list(d.items()) for d in [dict(a=1), dict(b=2)]), []))
everything = any(c > 2 for c in counted) and all(counted) or None

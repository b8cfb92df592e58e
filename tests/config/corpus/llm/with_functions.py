from functools import partial
from itertools import product
from copy import deepcopy

from tuner.blocks import Block


def block(width, depth=1, *args, scale: float = 1.0, **kwargs):
    """A block."""
    return dict(type=Block, width=int(width * scale), depth=depth, args=args, **kwargs)


def stack(*widths):
    for width in widths:
        yield block(width)


double = lambda x: x * 2
blocks = [block(w, d, dropout=.1) for w, d in product((8, 16), range(1, 3)) if (w, d) != (16, 2)]
more = list(stack(1, 2, 3))
widths = list(map(double, [1, 2]))
base = dict(a=[1, 2], b=dict(c=3))
clone = deepcopy(base)
clone['a'].append(3)
halved = partial(block, scale=0.5)(10, name='half')
ordered = sorted([dict(n=2), dict(n=1)], key=lambda d: d['n'])

import collections
from fractions import Fraction


class Local:
    pass


def function():
    return 1

model = dict(type=Local, ordered=collections.OrderedDict, make=function, n=Fraction)
kinds = [Local, int, (len, )]

import math
import copy
import itertools as it
import functools
import json
import collections
import typing
import random
import operator
from collections import OrderedDict, defaultdict
from math import pi, sqrt
from typing import Any, Dict
from functools import partial, reduce
from itertools import chain

root = math.sqrt(16)
area = pi * sqrt(4)
copied = copy.deepcopy(dict(a=[1]))
pairs = list(it.product('ab', range(2)))
product = functools.reduce(operator.mul, [1, 2, 3])
added = reduce(lambda a, b: a + b, [[1], [2]])
loaded = json.loads('{"a": [1, null]}')
ordered = OrderedDict(b=1, a=OrderedDict(c=2))
counts = dict(collections.Counter('abca'))
grouped = defaultdict(list, a=[1])
chained = list(chain([1], (2, )))
annotated: Dict[str, Any] = dict(x=1)
anything = partial(int, base=2)('101')
seeded = random.Random(0).randint(0, 0)

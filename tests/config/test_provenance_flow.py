"""Order, branches and loops of Python configs, followed line by line; and files that would go on for ever."""

import pytest
from provenance_tools import check, place, text_file

from trainwright.config.origins import trace


def lines(text, **expected):
    check(text_file("a.py", text), {key.replace("__", "."): value for key, value in expected.items()})


def test_the_order_of_lines_counts():
    file = text_file(
        "a.py",
        """
        size = 1
        early = dict(size=size)
        size = 2
        late = dict(size=size)
        a = b = dict()
        a['x'] = 3
        c, (d, *e) = 4, (5,
                         6, 7)
        f: int = 8
        g: int
        f += 1
        h = i = 9
        """,
    )
    check(
        file,
        {
            "early.size": "size = 1",
            "late.size": "size = 2",
            "b.x": "= 3",
            "c": "c, (d",
            "d": "c, (d",
            "e.0": "6, 7",
            "e.1": "6, 7",
            "f": "f += 1",
            "g": (file, None),
            "h": "h = i",
        },
    )


def test_branches_that_can_be_told():
    file = text_file(
        "a.py",
        """
        kind = 'big'
        names = ['a', 'b']
        if kind == 'big':
            size = 1
        elif True:
            size = 2
        if not names or 'c' in names or len(names) > 2:
            n = 3
        else:
            n = 4
        pick = (5 if kind != 'big'
                else 6)
        first = None or [
            7]
        both = names and dict(
            x=8)
        if 'k' not in dict(k=1):
            absent = 9
        while False:
            absent = 10
        else:
            present = 11
        if kind is None: absent = 12
        if 'ig' in kind and 3 > 2 >= 1 or True: chained = 13
        """,
    )
    check(
        file,
        {
            "size": "size = 1",
            "n": "n = 4",
            "pick": "else 6)",
            "first.0": "    7]",
            "both.x": "x=8",
            "absent": (file, None),
            "present": "= 11",
            "chained": "= 13",
        },
    )


def test_branches_that_cannot_be_told_are_all_followed():
    file = text_file(
        "a.py",
        """
        size = 1
        if unknown():
            size = 2
        if unknown():
            depth = 3
        else:
            depth = 4
        try:
            import fast
            speed = 5
        except ImportError as error:
            speed = 6
            reason = 7
        finally:
            done = 8
        with unknown() as handle:
            data = handle.read()
            plain = 9
        while unknown():
            loop = 10
        match unknown():
            case 1:
                matched = 11
            case _:
                matched = 12
        """,
    )
    check(
        file,
        {
            "size": "size = 2",
            "depth": "depth = 4",
            "speed": "speed = 5",
            "reason": "= 7",
            "done": "= 8",
            "data": "handle.read()",
            "plain": "= 9",
            "loop": "= 10",
            "matched": "= 12",
        },
    )


LOOPS = """
    steps = [dict(type='A', n=0),
             dict(type='B', n=0)]
    for step in steps:
        if step['type'] == 'B':
            step['n'] = 21
    for i, name in enumerate(['x', 'y'], start=1):
        globals()[f'{name}{i}'] = dict(
            name=name)
    stages = dict()
    for i in range(3):
        if i == 1:
            continue
        stages[f's{i}'] = 22
    for key, value in stages.items():
        stages[key] = dict(was=value)
    for a, b in zip(['k', 'l'], (3, 4)):
        if a == 'l':
            break
        stages[a] = b
    for key in ['k']:
        stages.pop(key)
    else:
        stages['m'] = 5
    n = 0
    while n < 3:
        n += 1
        stages['w' + str(n)] = n
        if n == 2:
            break
    for thing in unknown():
        steps[0]['late'] = thing
    for last_key in stages: pass
    last = [value for value in stages]
    names = list(dict(p=6).keys()) + list(dict(q=7).values())
"""


def test_loops_go_through_what_is_known():
    file = text_file("a.py", LOOPS)
    check(
        file,
        {
            "steps.0.n": "'A', n=0",
            "steps.1.n": "= 21",
            "steps.0.late": "in unknown()",
            "x1.name": "['x', 'y']",
            "y2": "[f'{name}{i}'] =",
            "y1": (file, None),
            "stages.s0.was": "= 22",
            "stages.s0": "was=value",
            "stages.s1": (file, None),
            "stages.s2.was": "= 22",
            "stages.k": (file, None),
            "stages.l": (file, None),
            "stages.m": "= 5",
            "stages.w2": "n += 1",
            "stages.w3": (file, None),
            "last.0": "last =",
            "names.1": "names =",
        },
    )


def test_names_of_the_file_as_a_dict():
    lines(
        "a = 1\nglobals().update(\n  b=2)\nlocals()['c'] = 3\nd = vars()['a']\nglobals().update(unknown())\n",
        b="b=2",
        c="= 3",
        d="a = 1",
        e="update(unknown())",
    )
    lines("from math import *\na = [\n  pi]\n", pi="math", a__0="  pi]")


def test_lists_that_grow_an_unknown_number_of_times():
    file = text_file(
        "a.py",
        """
        a = [0]
        for n in unknown(): # any number
            a.append(dict(
                n=n))
        b = []
        for name in ['x', 'y']:
            for n in unknown():
                b.append(dict(
                    m=n))
        b.append(1)
        c = dict(d=[])
        while unknown():
            c['d'] += [
                2]
            new = [3]
            new.append(4)
        """,
    )
    check(
        file,
        {
            "a.0": "a = [0]",
            "a.1.n": "for n in unknown(): #",
            "a.7": "a.append",
            "b.0": "b.append(dict(",
            "b.5": "b = []",
            "c.d.0": "        2]",
            "c.d.9": "        2]",
            "new.1": "new.append(4)",
            "new.2": (file, None),
        },
    )


def test_names_that_patterns_bind_and_attributes_that_are_set():
    lines(
        "a = [1]\nmatch a:\n  case [first, *more]:\n    b = first\n  case {'k': 1,\n    **rest}:\n    pass\n"
        "setattr(_base_, 'c', 5)\n",
        b="case [first",
        more="case [first",
        rest="case {'k'",
        c="setattr",
    )


def test_letters_of_a_text():
    file = text_file(
        "a.py",
        """
        word = 'ab'
        d = dict()
        for letter in word[::-1] + word[0]:
            d[letter] = dict(
                n=1)
        e = dict([], x=2)
        if 'a' in [dict(a=1), (1, [2]), 'b']: wrong = 3
        first, *others = word
        if len(others) == 2: wrong = 4
        """,
    )
    check(file, {"d.a.n": "n=1", "d.b": "d[letter]", "e.x": "x=2", "wrong": (file, None)})


def test_walrus_and_deleted_names():
    file = text_file("a.py", "a = dict(x=(n := 3),\n  y=n)\nb = 1\ndel b, a['x']\n")
    check(file, {"n": "n := 3", "a.y": "n := 3", "b": (file, None), "a.x": (file, None)})


def test_a_list_that_is_put_into_itself_ends():
    file = text_file("a.py", "a = [1]\na.append(a)\nb = dict(x=a)\nb['y'] = b\nc = copy.deepcopy(b)\n")
    check(file, {"b.y.y.x": "a = [1]", "c.x.1.1.0": "a = [1]", "c": "b = dict("})
    child = text_file("child.py", "d = 1\n", file)
    assert trace(child, [], ("d",)) is None  # given up: no config that was read has such a value


@pytest.mark.parametrize(
    "text",
    [
        "a = [1]\n" + "a = [a, a]\n" * 60 + "b = copy.deepcopy(a)\n",
        "while True:\n    a = 1\n",
        "for i in range(10**9):\n    a = i\n",
        "for i in range(9999):\n    for j in range(9999):\n        a = j\n",
        "a = 'x' * 10**12\n",
        "a = 9\n" + "a = a * a\n" * 60,
        "a = 'xx'\n" + "a = a + a\n" * 60,
        "a = [1]\n" + "a = a + a\n" * 60,
        "a = [1] * 10**10\n",
        "a = [1]\nfor x in range(100):\n    a.extend(a)\n",
        "a = '%1000000000d' % 1\n",
    ],
)
def test_files_that_would_take_for_ever_end(text):
    import time

    start = time.perf_counter()
    place(text_file("a.py", text), "a")
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize(
    "text",
    [
        "a = 1 / 0",
        "a = 'x' + 1",
        "a = {[]: 1}",
        "a = [1][5]",
        "a = {}['x']",
        "a = None.x.y",
        "a = [1, 2][::0]",
        "a, b = 1",
        "a, *b, c = 1,",
        "[].pop()",
        "a = []\na[3] = 1\ndel a[7]\na['x'] = 2\ndel a['x']\na += 3",
        "a = range(1, 2, 0)\nb = range()\nc = enumerate()\nd = zip(1)\ne = len()\nf = str()\ng = dict(1)",
        "dict.update()\nx.append(1)\n{}.get()\n{}.pop()\n{}.setdefault()\n[].insert()\n[].extend()\n{}.merge()\n[].pop('x')",
        "a = dict(x=1)\na.x.y.z = 3\na[1:2] = 3\ndel a[1:2]\na['x']['y'] += 1",
        "a = 5\na[0] = 1\na.b = 2\ndel a.b\na |= 3\na += None\na = ~'x'\na = -None\na = not a",
        "a = 1 < 'x'\nb = 1 in 2\nc = [] in []\nd = {} is None\ne = 'a' in 'abc' 'd'",
        "for a.b in [1]: pass\nfor a[0], b in {1: 2}.items(): pass",
        "async def f():\n    async with a: pass\nawait_ = (yield_ for yield_ in x)",
        "a = b'x' + 1j\nb = ...\nc = 1_000 ** 3\nd = 5 % 3 // 2 - 1 / 4\ne = f'{a!r:>{d}}'",
        "a: dict = {}\na.update([1, 2])\na.update(3)\na.merge(4)\na.update([('k',)])\n",
        "global x\nassert a, b\nraise a\npass",
        "*a, *b = 1, 2",
    ],
)
def test_files_that_make_no_sense_raise_nothing(text):
    file = text_file("a.py", text)
    for path in ("a", "a.x", "b.0", "c", "e"):
        trace(file, [], tuple(path.split(".")))

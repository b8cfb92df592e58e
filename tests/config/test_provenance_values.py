"""What Python can make of dicts and lists in a config, followed line by line."""

from provenance_tools import check, text_file


def test_calls_of_dict_and_displays():
    file = text_file(
        "a.py",
        """
        base = dict(x=1,
                    y=2)
        a = dict(**base,
                 z=3)
        b = {**base,
             'y': 4,
             **{'x': 5}}
        c = dict(base,
                 y=6)
        d = dict([('p', 7),
                  ('q', 8)])
        e = {
            1: 'one',
            None: 'none',
            (1, 'k'): [9],
        }
        f = dict(unknown(), x=10,
                 y=11)
        """,
    )
    check(
        file,
        {
            "a": "a = dict(",
            "a.x": "base = dict(x=1",
            "a.z": "z=3",
            "b.y": "'y': 4",
            "b.x": "'x': 5",
            "b": "b = {",
            "c.x": "base = dict(x=1",
            "c.y": "y=6",
            "d.q": "'q', 8",
            ("e", 1): "'one'",
            ("e", None): "'none'",
            ("e", (1, "k"), 0): "[9]",
            "f.y": "y=11",
            "f.other": "f = dict(",
        },
    )


LISTS = """
    load, rest = [dict(type='Load'),
                  dict(type='Resize')], [
        dict(type='Pack')]
    a = load + rest
    b = [*load,
         dict(type='Flip'), *rest]
    c = load + unknown() + rest
    d = unknown() + load
    e = [1, *unknown(),
         2]
    f = a[1:]
    g = load[::-1]
    h = [dict(x=1)] * 3
    i = 2 * load
    j = (
        1,
        2) + (3,)
    k = a[unknown():]
    m = [0] * unknown()
    n = list(load) + [
        4]
    o = tuple(reversed(load))
    q = a[-1]
"""


def test_lists():
    file = text_file("a.py", LISTS)
    check(
        file,
        {
            "a": "a = load",
            "a.1.type": "'Resize'",
            "a.2.type": "'Pack'",
            "b.0.type": "'Load'",
            "b.2.type": "'Flip'",
            "b.3.type": "'Pack'",
            "c.1.type": "'Resize'",
            "c.2": "c = load",
            "c.3.type": "c = load",
            "d.0.type": "d = ",
            "e.0": "e = [1",
            "e.1": "e = [1",
            "e.2": "e = [1",
            "f.0.type": "'Resize'",
            "f.1.type": "'Pack'",
            "g.0.type": "'Resize'",
            "h.2.x": "h =",
            "i.3.type": "'Resize'",
            "j.0": "            1,".strip(" ") if False else "    1,",
            "j.2": "2) + (3,)",
            "k.0": "k =",
            "m.7": "m =",
            "n.2": "    4]",
            "o.0.type": "'Resize'",
            "q.type": "'Pack'",
        },
    )


CHANGED_LISTS = """
    p = [dict(n=0)]
    p.append(dict(n=1))
    p.extend([dict(n=2),
              dict(n=3)])
    p += [dict(n=4)]
    p.insert(0, dict(n=5))
    p[1] = dict(n=6)
    p[-1]['n'] = 7
    q = [1, 2, 3, 4]
    del q[0]
    q[1:2] = [
        8, 9]
    r = [1,
         2]
    last = r.pop()
    r.append(last)
    s = [1]; s.extend(unknown()); s.append(2)
    t = [3, 4]; t.sort()
    u = [5,
         6]; u.reverse()
    v = [1, 2]; v[unknown():] = [3]
    w = (1,); x = w; x += (
        2,)
    y = [1]; z = y; z += [
        2, 3]
"""


def test_lists_that_are_changed():
    file = text_file("a.py", CHANGED_LISTS)
    check(
        file,
        {
            "p.0.n": "n=5",
            "p.1.n": "n=6",
            "p.2.n": "n=1",
            "p.4.n": "n=3",
            "p.5.n": "= 7",
            "p": "p = [dict(n=0)]",
            "q.0": "q = [1, 2",
            "q.1": "8, 9",
            "q.2": "8, 9",
            "q.3": "q = [1, 2",
            "r.1": "     2]",
            "s.0": "s = [1]",
            "s.4": "s = [1]",
            "t.0": "t = [3, 4]",
            "u.0": "     6]",
            "v.0": "v = [1, 2]",
            "w.1": (file, None),
            "x.1": "    2,)",
            "y.2": "    2, 3]",
        },
    )


CHANGED_DICTS = """
    m = dict(a=dict(b=1), gone=2, d=3)
    m['a']['c'] = 4
    m['a'].update(b=5,
                  e=6)
    m['new'] = n = dict()
    n['late'] = 7
    popped = m.pop('gone')
    del m['d']
    m.setdefault('f', 8)
    m.setdefault('f', 9)
    got = m.get('f', 10)
    other = m.get('g',
                  11)
    m |= dict(h=12)
    k = 'i'
    m[k + 'j'] = 13
    m[f'{k}k'] = 14
    copied = m.copy()
    copied['h'] = 15
    deep = copy.deepcopy(m)
    deep['a']['b'] = 16
    both = dict(a=1) | dict(
        b=2)
    gone = dict(a=1)
    gone.clear()
"""


def test_dicts_that_are_changed():
    file = text_file("a.py", CHANGED_DICTS)
    check(
        file,
        {
            "m.a.c": "= 4",
            "m.a.b": "b=5",
            "m.a.e": "e=6",
            "m.new.late": "= 7",
            "popped": "gone=2",
            "m.gone": (file, None),
            "m.d": (file, None),
            "m.f": "'f', 8",
            "got": "'f', 8",
            "other": "    11)",
            "m.h": "h=12",
            "m.ij": "= 13",
            "m.ik": "= 14",
            "copied.h": "= 15",
            "copied.a.b": "b=5",
            "deep.a.b": "= 16",
            "deep.a.c": "= 4",
            "both.a": "both =",
            "both.b": "    b=2",
            "gone.a": (file, None),
        },
    )


OPAQUE = """
    import os.path as osp
    def make(n):
        return dict(n=n)
    class Thing:
        pass
    root = '/data'
    a = make(
        3)
    b = dict(
        path=root + '/x',
        list=[make(i)
              for i in range(3)],
        join=osp.join(
            root, 'y'),
        cls=Thing,
        text=f'{root}/{osp.sep}',
        fn=lambda x: x,
        neg=-1,
        cond=1 if unknown() else 2,
        either=unknown() or 3,
        sets={1,
              2},
    )
    c = osp
    d = dict(p=a['q'], q=a.r.s,
             r=c.sep)
    a['z'] = 4
    a.y.x.w = 5
    a['v'].update(
        u=6)
    x, y = make(
        1)
"""


def test_what_cannot_be_looked_into_has_the_line_of_the_expression():
    file = text_file("a.py", OPAQUE)
    check(
        file,
        {
            "a": "a = make(",
            "a.n": "a = make(",
            "a.n.deeper": "a = make(",
            "b.path": "path=",
            "b.list": "list=",
            "b.list.1.n": "list=",
            "b.join": "join=",
            "b.cls": "cls=",
            "b.text": "text=",
            "b.fn": "fn=",
            "b.neg": "neg=",
            "b.cond": "cond=",
            "b.either": "either=",
            "b.sets": "sets=",
            "d.p": "a = make(",
            "d.q": "a = make(",
            "d.r": "c = osp",
            "a.z": "= 4",
            "a.y.x.w": "= 5",
            "a.y.other": "a = make(",
            "a.v.u": "    u=6)",
            "x": "x, y",
            "y": "x, y",
        },
    )


def test_copies_share_what_the_original_shares():
    file = text_file(
        "a.py",
        """
        norm = dict(type='BN')
        model = dict(a=norm, b=norm)
        deep = copy.deepcopy(model)
        deep['a']['type'] = 'LN'
        norm['type'] = 'GN'
        """,
    )
    check(file, {"deep.b.type": "'LN'", "model.b.type": "'GN'"})


def test_merge_of_a_config_dict_takes_delete_out_everywhere():
    base = text_file("base.py", "m = dict(a=dict(x=1), b=dict(y=2))\n")
    text = "_base_.m.merge(dict(a=dict(_delete_=True,\n  z=3), c=dict(_delete_=True, w=4),\n  b=dict(v=5)))\n"
    text += "n = len(_base_.m.c)\nif n == 1: told = 6\n_base_.m.merge(unknown())\n"
    child = text_file("child.py", text, base)
    check(
        child,
        {
            "m.a.x": (child, None),
            "m.a.z": "z=3",
            "m.b.y": (base, "y=2"),
            "m.b.v": "v=5",
            "told": "told",
            "m.other": "merge(unknown())",
        },
    )

"""Differences by meaning."""

import copy
import math
from random import Random

import pytest

from trainwright.base.lazy import LazyObject
from trainwright.config import Config
from trainwright.config.diff import Change, canonical, diff, path_text, render

STEPS = [{"type": "Load"}, {"type": "Flip", "prob": 0.5}, {"type": "Pack"}]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({}, {}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": math.nan, "b": [math.nan]}, {"a": float("nan"), "b": [-math.nan]}),
        ({"type": "torch.optim.SGD"}, {"type": LazyObject("torch.optim", "SGD")}),
        ({"types": ["torch.optim.SGD"]}, {"types": [LazyObject("torch.optim").SGD]}),
        ({"a": {"x"}, "s": slice(1, None)}, {"a": {"x"}, "s": slice(1, None)}),
        ({"type": Change}, {"type": "trainwright.config.diff.Change"}),
    ],
    ids=str,
)
def test_equal(a, b):
    assert diff(a, b) == []
    assert render(diff(a, b)) == ""


@pytest.mark.parametrize(
    ("a", "b", "path", "kind"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ("a", "b"), "changed"),
        ({"a": {"b": 1}}, {"a": {}}, ("a", "b"), "removed"),
        ({"a": {}}, {"a": {"b": {"c": 1}}}, ("a", "b"), "added"),
        ({"a": 1}, {"a": 1.0}, ("a",), "changed"),
        ({"a": 1}, {"a": True}, ("a",), "changed"),
        ({"a": "1"}, {"a": 1}, ("a",), "changed"),
        ({"a": None}, {"a": {}}, ("a",), "changed"),
        ({"a": [1, 2]}, {"a": (1, 2)}, ("a",), "changed"),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, ("a",), "changed"),
        ({"a": list(range(40))}, {"a": [*range(20), "new", *range(20, 40)]}, ("a", 20), "added"),
        ({"a": STEPS}, {"a": [STEPS[0], {"type": "Crop", "size": 8}, *STEPS[1:]]}, ("a", 1), "added"),
        ({"a": STEPS}, {"a": STEPS[1:]}, ("a", 0), "removed"),
        ({"a": STEPS}, {"a": [STEPS[0], {"type": "Flip", "prob": 0.1}, STEPS[2]]}, ("a", 1, "prob"), "changed"),
        ({"a": STEPS}, {"a": [STEPS[0], {"type": "Rotate", "prob": 0.5}, STEPS[2]]}, ("a", 1, "type"), "changed"),
        ({"a": tuple(STEPS)}, {"a": tuple(STEPS[:2])}, ("a", 2), "removed"),
        ({"a": LazyObject("m", "A")}, {"a": LazyObject("m", "B")}, ("a",), "changed"),
        ({None: 1, 2: 3}, {None: 1, 2: 4}, (2,), "changed"),
    ],
    ids=str,
)
def test_one_change(a, b, path, kind):
    (change,) = diff(a, b)
    assert (change.path, change.kind) == (path, kind)
    (back,) = diff(b, a)
    assert back.kind == {"added": "removed", "removed": "added"}.get(kind, kind)


def test_the_rendered_tree():
    a = {
        "gone": {"type": "X"},
        "model": {"type": "Net", "depth": 50, "head": {"size": (1, 2), "act": "torch.nn.ReLU"}},
        "pipeline": STEPS,
    }
    b = {
        "model": {"type": "Net", "depth": 101, "head": {"size": [1, 2], "act": LazyObject("torch.nn", "GELU")}},
        "pipeline": [STEPS[0], {"type": "Long", "names": ["n" * 30, "m" * 30, "k" * 30]}, {**STEPS[1], "prob": 1.0}],
        "a-b": 1,
    }
    assert render(diff(a, b)) == (
        '- gone = dict(type="X")\n'
        "  model\n"
        "-   depth = 50\n"
        "+   depth = 101\n"
        "    head\n"
        "-     size = (1, 2)\n"
        "+     size = [1, 2]  # a list, was a tuple\n"
        '-     act = "torch.nn.ReLU"\n'
        '+     act = "torch.nn.GELU"\n'
        "  pipeline\n"
        "+   [1] = dict(\n"
        '+       type="Long",\n'
        "+       names=[\n"
        f'+           "{"n" * 30}",\n'
        f'+           "{"m" * 30}",\n'
        f'+           "{"k" * 30}",\n'
        "+       ],\n"
        "+   )\n"
        "    [2]\n"
        "-     prob = 0.5\n"
        "+     prob = 1.0\n"
        '-   [2] = dict(type="Pack")\n'
        "+ ['a-b'] = 1\n"
    )


def test_a_chain_of_single_keys_is_one_heading():
    a, b = ({"a": {"b": [{"c": {"d": value}}]}} for value in (1, 2))
    assert render(diff(a, b)) == "  a.b[0].c\n-   d = 1\n+   d = 2\n"


def random_tree(random, depth=3):
    kind = random.choice("dlt" if depth == 3 else "dltvvv" if depth else "v")
    if kind == "v":
        return random.choice([0, 1, 1.0, True, None, "a", "b", float("nan"), slice(1), frozenset({1}), b"x"])
    items = [random_tree(random, depth - 1) for _ in range(random.randrange(4))]
    if kind == "d":
        return dict(zip(random.sample(["type", "a", "b", 0], len(items)), items, strict=True))
    return items if kind == "l" else tuple(items)


def applied(changes, a):
    """Trees in dicts only, with the changes made."""
    result = copy.deepcopy(a)
    for change in changes:
        node = result
        for key in change.path[:-1]:
            node = node[key]
        if change.kind == "removed":
            del node[change.path[-1]]
        else:
            node[change.path[-1]] = change.new
    return result


def test_no_change_means_equal_and_every_change_is_one():
    random = Random(0)
    for _ in range(2000):
        a, b = ({"x": random_tree(random)} for _ in range(2))
        changes = diff(a, b)
        assert (changes == []) == (canonical(a) == canonical(b))
        assert diff(b, copy.deepcopy(b)) == []
        assert render(changes).count("\n") >= len(changes)
        for change in changes:
            assert change.kind != "changed" or canonical(change.old) != canonical(change.new)


def test_changes_lead_from_one_to_the_other():
    random = Random(1)
    for _ in range(500):
        a, b = ({"x": {k: random_tree(random, 0) for k in random.sample("abcdef", 3)}} for _ in range(2))
        assert canonical(applied(diff(a, b), a)) == canonical(b)


def test_nothing_lazy_is_imported():
    cfg = Config({"type": LazyObject("no.such.module", "Thing"), "x": 1})
    other = Config({"type": LazyObject("no.such.module", "Thing"), "x": 2})
    (change,) = diff(cfg._cfg_dict, other._cfg_dict)
    assert change.path == ("x",)


def test_both_syntaxes_alike(tmp_path):
    text = tmp_path / "text.py"
    text.write_text('optimizer = dict(type="torch.optim.SGD", lr=0.1)\n')
    imports = tmp_path / "imports.py"
    imports.write_text("from torch.optim import SGD\noptimizer = dict(type=SGD, lr=0.2)\n")
    assert Config.diff(str(text), str(imports)) == "  optimizer\n-   lr = 0.1\n+   lr = 0.2\n"


def test_files_are_compared_without_importing_what_they_name(tmp_path):
    for name, value in (("a", 1), ("b", 2)):
        text = f"custom_imports = dict(imports=['no_such_module'])\nx = {value}\n"
        (tmp_path / f"{name}.py").write_text(text)
    assert Config.diff(tmp_path / "a.py", tmp_path / "b.py") == "- x = 1\n+ x = 2\n"


def test_paths():
    assert path_text(("a", 0, "b", "c d", None, True)) == "a[0].b['c d'][None][True]"

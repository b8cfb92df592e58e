import collections
import enum
import functools
import json
import math
import os
import pathlib
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainwright.base.errors import ConfigError
from trainwright.config import Config
from trainwright.config.diff import diff


def back(cfg):
    return Config.fromstring(cfg.pretty_text, ".py")


def same(a, b):
    """Equality that tells types apart and lets nan equal nan."""
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a) if isinstance(b, dict) else False
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    return a == b


def test_layout_is_stable_and_breaks_long_values():
    stage = {"type": "ResLayer", "depth": 3, "name": "a name that is rather long", "norm": {"type": "BatchNorm2d"}}
    cfg = Config({"lr": 0.1, "model": {"stages": [stage, {"type": "Last"}], "a-b": None}, "one": (1,), "none": ()})
    assert cfg.pretty_text == (
        "lr = 0.1\n"
        "model = {\n"
        '    "stages": [\n'
        "        dict(\n"
        '            type="ResLayer",\n'
        "            depth=3,\n"
        '            name="a name that is rather long",\n'
        '            norm=dict(type="BatchNorm2d"),\n'
        "        ),\n"
        '        dict(type="Last"),\n'
        "    ],\n"
        '    "a-b": None,\n'
        "}\n"
        "one = (1,)\n"
        "none = ()\n"
    )
    assert back(cfg).pretty_text == cfg.pretty_text


def test_without_formatting_each_key_is_one_line():
    cfg = Config({"a": list(range(100)), "b": {"c": 1}}, format_python_code=False)
    assert len(cfg.pretty_text.splitlines()) == 2


@pytest.mark.parametrize(
    "tree",
    [
        {"a": [1, (2,), (), {3, 1, 2}, set(), frozenset({1}), frozenset(), {"x": {}}, [], None, True]},
        {"a": [math.inf, -math.inf, math.nan, 1e300, -0.0, 10**30, 1 + 2j, complex(math.inf, -1), ...]},
        {"a": ["it's", 'say "x"', "both ' and \"", "new\nline\t\\", "ünï\U0001f600\ud800", "", b"by'tes"]},
        {
            "a": [
                "{{ fileDirname }}",
                "{{ $HOME:x }}",
                "{{'$HOME:x'}}",
                "{{ _base_.a }}",
                "{{{ $HOME:x }}}",
                "{{ other }}",
            ]
        },
        {
            "a": {
                "{{ fileDirname }}": 1,
                None: 2,
                3: 4,
                "a b": 5,
                (1, "x"): 6,
                True: 7,
                "class": 8,
                "ﬁ": 9,
                "__debug__": 1,
            }
        },
        {"a": [slice(1, None, 2), range(3), slice("x", math.inf)]},
        {"a": [b"{{ fileDirname }}", b"'\"\\", pathlib.Path("a/b c"), pathlib.PurePosixPath("/x")], "Path": 1},
        {"a-b": 1, None: {"c": 2}, "class": 3, "normal": 4, 5: 6},
        {"dict": {"a": 1}, "set": set(), "float": math.inf, "globals": {"dict": {"b": 1}}, "a": {"b": math.nan}},
        {
            "frozenset": frozenset({1}),
            "slice": slice(1),
            "range": range(2),
            "complex": 1j,
            "match": 1,
            "type": {"a": "b"},
        },
        {"x": {("a", 1), ("a", 2), "b", 3, None, 2.5, True, frozenset({2})}},
        {},
    ],
)
def test_every_kind_of_value_reads_back(tree, monkeypatch):
    monkeypatch.setenv("HOME", "/elsewhere")
    cfg = Config(tree)
    again = back(cfg)._to_lazy_dict()
    assert sorted(map(ascii, again)) == sorted(map(ascii, tree))
    assert all(same(tree[key], again[key]) for key in tree), cfg.pretty_text


def test_a_number_of_any_length_reads_back():
    tree = {"a": [10**5000, -(10**5000), {10**5000: 1}, range(10**700), slice(10**800)], "small": 10**599}
    assert back(Config(tree)).to_dict() == tree
    assert f"small = {10**599}" in Config(tree).pretty_text


KEYS = st.one_of(
    st.text(string.ascii_letters + "_{}$ -", min_size=1, max_size=8), st.text(max_size=4), st.integers(), st.none()
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.text("{}$:_ '\"\\\nafile_base.", max_size=20),
)
HASHABLE = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5))
TREES = st.recursive(
    st.one_of(LEAVES, st.sets(HASHABLE, max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=3).map(tuple), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)
TOP = st.one_of(st.sampled_from(["dict", "set", "float", "globals", "model", "for", "_x"]), KEYS).filter(
    lambda key: key not in ("_base_", "_deprecation_") and not str(key).startswith("__")
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.dictionaries(TOP, TREES, max_size=5))
def test_any_tree_reads_back(tree):
    cfg = Config(tree)
    again = back(cfg).to_dict()
    assert len(again) == len(tree)
    assert all(same(value, again[key]) for key, value in cfg.to_dict().items()), cfg.pretty_text


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Tag(str, enum.Enum):
    NIGHT = "night"


def test_objects_are_written_by_name_with_a_note():
    model = {"type": collections.OrderedDict, "init": math.sqrt}
    own = type("object", (), {"__str__": lambda _: "an object"})()
    cfg = Config({"model": model, "c": Colour.RED, "n": Level.HIGH, "m": json, "own": own})
    assert cfg.pretty_text == (
        "# Not plain data, written by name:\n"
        "#   own: object\n"
        "from collections import OrderedDict\n"
        "from math import sqrt\n"
        "from test_config_dump import Colour\n"
        "import json\n"
        "\n"
        "model = dict(type=OrderedDict, init=sqrt)\n"
        "c = Colour.RED\n"
        "n = 3\n"
        "m = json\n"
        'own = "an object"\n'
    )
    assert back(cfg)._to_lazy_dict() == {**cfg._to_lazy_dict(), "own": "an object"}
    assert back(cfg).c is Colour.RED
    assert back(cfg).m is json
    assert [change.path for change in diff(back(cfg)._to_lazy_dict(), cfg._to_lazy_dict())] == [("own",)]


def test_a_key_that_no_config_can_have_is_left_out_with_a_note():
    assert Config({"__x": 1, "y": 2}).pretty_text == (
        "# Not plain data, written by name:\n"
        "#   __x: left out, because a name that begins with '__' is no config key\n"
        "y = 2\n"
    )


def test_a_partial_call_of_a_class_is_written_as_one():
    cfg = Config.fromstring(
        "from functools import partial\nfrom torch import nn\nmodel = dict(norm=partial(nn.LayerNorm, eps=1e-6))", ".py"
    )
    assert cfg.pretty_text.splitlines()[-1] == "model = dict(norm=partial(nn.LayerNorm, eps=1e-06))"
    again = dict.get(back(cfg).model, "norm")
    assert (repr(again.func), again.keywords) == ("torch.nn.LayerNorm", {"eps": 1e-6})
    assert Config.diff(cfg, back(cfg)) == ""
    assert Config.diff(cfg, Config({"model": {"norm": functools.partial(dict, eps=1e-6)}})) != ""


def test_a_note_stays_in_its_line_and_is_not_substituted():
    cfg = Config({"a\nimport os": {"{{ fileDirname }}": bytearray(b"x")}})
    assert cfg.pretty_text.splitlines()[1] == "#   a\\nimport os.{ { fileDirname }}: bytearray"
    assert back(cfg).to_dict() == {"a\nimport os": {"{{ fileDirname }}": "bytearray(b'x')"}}


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_data_formats_read_back_what_looks_like_a_variable_or_is_odd(tmp_path, suffix):
    texts = ["{{ fileDirname }}", "{{{ $HOME:x }}", "{{'$HOME:x'}}", "{{ _base_.a }}", "{{ other }}", "a\u2028b\x00"]
    tree = {"a": texts, "{{ fileExtname }}": 1, "long": "{{ fileBasename }} " * 40, "tag": Tag.NIGHT}
    Config(tree).dump(tmp_path / f"out{suffix}")
    assert Config.fromfile(tmp_path / f"out{suffix}").to_dict() == tree


def test_data_formats_say_what_they_cannot_hold(tmp_path):
    Config({"a": {"b": "half \ud800"}, "t": {(1, 2): 3}}).dump(tmp_path / "a.json")
    assert Config.fromfile(tmp_path / "a.json").to_dict() == {"a": {"b": "half \ud800"}, "t": {"(1, 2)": 3}}
    Config({"a": [10**5000, -(10**5000)]}).dump(tmp_path / "a.yaml")
    assert Config.fromfile(tmp_path / "a.yaml").a == [10**5000, -(10**5000)]
    with pytest.raises(ConfigError, match="JSON cannot hold a number of 16610 bits: dump the config as .py or .yaml"):
        Config({"a": 10**5000}).dump(tmp_path / "b.json")
    with pytest.raises(ConfigError, match=r"YAML cannot hold 'half \\ud800', which is no valid Unicode"):
        Config({"a": "half \ud800"}).dump(tmp_path / "b.yaml")
    with pytest.raises(ConfigError, match=r"YAML has no sets as keys, but the config has frozenset\(\{1\}\)"):
        Config({"a": {frozenset({1}): 2}}).dump(tmp_path / "b.yaml")
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.yaml"]


def test_a_config_that_contains_itself_cannot_be_written():
    cfg = Config({"a": []})
    cfg.a.append(cfg.a)
    with pytest.raises(ConfigError, match="the config contains itself, or is nested too deep"):
        cfg.pretty_text  # noqa: B018


@pytest.mark.parametrize("suffix", [".py", ".yaml", ".yml", ".json"])
def test_dump_writes_the_format_of_the_suffix(tmp_path, suffix):
    tree = {"a": {"b": [1, "ü", None, True, 0.5, math.inf]}, "cls": {"type": "X"}}
    path = tmp_path / f"out{suffix}"
    assert Config(tree).dump(path) is None
    cfg = Config.fromfile(path)
    assert cfg.to_dict() == tree
    assert cfg.dump() == path.read_text(encoding="utf-8")
    assert os.listdir(tmp_path) == [path.name]


def test_data_formats_keep_what_they_can(tmp_path):
    cfg = Config({"t": (1, 2), "s": {3, 1}, "c": collections.OrderedDict, "n": Level.HIGH})
    cfg.dump(tmp_path / "a.json")
    cfg.dump(tmp_path / "a.yaml")
    expected = {"t": [1, 2], "s": [1, 3], "c": "collections.OrderedDict", "n": 3}
    assert Config.fromfile(tmp_path / "a.json").to_dict() == expected
    assert Config.fromfile(tmp_path / "a.yaml").to_dict() == {**expected, "t": (1, 2), "s": {1, 3}}
    with pytest.raises(ConfigError, match=r"a config is written as .py, .yaml, .yml, .json; got 'a.ini'"):
        cfg.dump("a.ini")

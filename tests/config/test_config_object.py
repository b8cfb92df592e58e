import copy
import pickle
import subprocess
import sys
from collections import OrderedDict, namedtuple

import pytest

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.config import Config, ConfigDict

Pair = namedtuple("Pair", "a b")


@pytest.fixture
def cfg():
    return Config({"model": {"depth": 18, "heads": [{"k": 1}, {"k": 2}]}, "lr": 0.1, "pair": ({"q": 1},)})


# -- ConfigDict --------------------------------------------------------------------------------------------------------
def test_dicts_become_config_dicts_wherever_they_are_put():
    d = ConfigDict(a={"b": 1}, lst=[{"c": 1}, ({"d": 2},)], pair=Pair({"e": 1}, 2))
    d.x = {"y": [{"z": 1}]}
    d["w"] = OrderedDict(v=1)
    d.update(u={"t": 1})
    d.setdefault("s", {"r": 1})
    for nested in (d.a, d.lst[0], d.lst[1][0], d.pair.a, d.x, d.x.y[0], d.w, d.u, d.s):
        assert type(nested) is ConfigDict
    assert isinstance(d.pair, Pair)
    assert d.x.y[0].z == 1


def test_missing_attribute_suggests_and_missing_item_is_a_key_error():
    d = ConfigDict(train_dataloader=1)
    with pytest.raises(
        AttributeError, match="there is no key 'train_dataloder' in this ConfigDict. Did you mean 'train_dataloader'"
    ):
        d.train_dataloder  # noqa: B018
    with pytest.raises(KeyError, match="nothing"):
        d["nothing"]
    assert not hasattr(d, "nothing")
    assert d.get("nothing") is None
    assert d.pop("nothing") is None
    assert d.pop("nothing", 3) == 3
    with pytest.raises(AttributeError, match="there is no key 'train_dataloder' to delete. Did you mean"):
        del d.train_dataloder
    del d.train_dataloader
    assert d == {}


def test_names_of_methods_cannot_be_set_as_attributes():
    d = ConfigDict()
    with pytest.raises(AttributeError, match=r"'items' is a method of ConfigDict: set the key with cfg\['items'\]"):
        d.items = 3
    d["items"] = 3
    assert d["items"] == 3
    assert list(d.items()) == [("items", 3)]
    assert "items" in dir(d)


def test_update_and_union_merge_nested_dicts():
    d = ConfigDict(a={"b": 1, "c": 2}, lst=[1])
    d.update({"a": {"b": 5}}, lst=[2])
    assert d == {"a": {"b": 5, "c": 2}, "lst": [2]}
    assert d | {"a": {"d": 1}} == {"a": {"b": 5, "c": 2, "d": 1}, "lst": [2]}
    assert {"a": {"z": 1}} | d == {"a": {"z": 1, "b": 5, "c": 2}, "lst": [2]}
    assert d == {"a": {"b": 5, "c": 2}, "lst": [2]}
    d |= {"a": 1}
    assert d.a == 1
    with pytest.raises(TypeError):
        d | 3
    with pytest.raises(TypeError):
        3 | d


def test_copies_of_a_config_dict():
    d = ConfigDict(a={"b": [1]})
    assert d.copy().a is d.a
    assert copy.copy(d).a is d.a
    for other in (copy.deepcopy(d), pickle.loads(pickle.dumps(d))):
        assert other == d
        assert type(other.a) is ConfigDict
        other.a.b.append(2)
        assert d.a.b == [1]
    plain = d.to_dict()
    assert type(plain["a"]) is dict
    plain["a"]["b"].append(2)
    assert d.a.b == [1]


def test_a_shallow_copy_has_lists_of_its_own():
    d = ConfigDict(a=[1, {"b": 2}], c=ConfigDict(None, e=3))
    other = d.copy()
    other.a.append(3)
    other.a[1].b = 4
    assert d == {"a": [1, {"b": 4}], "c": {"e": 3}}
    assert copy.copy(d).a is not d.a


def test_a_deep_copy_keeps_what_is_shared():
    shared = ConfigDict(x=1)
    d = copy.deepcopy(ConfigDict(a=shared, b=shared))
    assert d.a is d.b


# -- Config ------------------------------------------------------------------------------------------------------------
def test_config_is_read_and_written_like_a_dict_and_like_an_object(cfg):
    assert cfg.model.depth == cfg["model"]["depth"] == 18
    assert (len(cfg), list(cfg), "lr" in cfg, "x" in cfg) == (3, ["model", "lr", "pair"], True, False)
    cfg.new = {"a": 1}
    cfg["other"] = {"b": 1}
    assert type(cfg.new) is type(cfg.other) is ConfigDict
    assert cfg.get("nothing", 3) == 3
    assert cfg.pop("lr") == 0.1
    del cfg.new
    del cfg["other"]
    assert dict(cfg) == {"model": {"depth": 18, "heads": [{"k": 1}, {"k": 2}]}, "pair": ({"q": 1},)}
    assert cfg._cfg_dict is cfg._cfg_dict
    assert isinstance(cfg._cfg_dict, ConfigDict)
    assert list(cfg.items()) == list(cfg._cfg_dict.items())
    assert repr(cfg).startswith("Config (path: None): {'model'")
    with pytest.raises(AttributeError, match=r"no key 'modle' .*Did you mean 'model'"):
        cfg.modle  # noqa: B018


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_deep_copies_and_pickles_are_independent(cfg, copied):
    other = copied(cfg)
    assert other._cfg_dict == cfg._cfg_dict
    assert (other.filename, other.text, other.env_variables) == (cfg.filename, cfg.text, cfg.env_variables)
    other.model.depth = 1
    other.merge_from_dict({"lr": 3})
    assert (cfg.model.depth, cfg.lr) == (18, 0.1)


@pytest.mark.parametrize("copied", [copy.copy, Config.copy])
def test_shallow_copies_share_nested_values(cfg, copied):
    other = copied(cfg)
    other.lr = 3
    other.model.depth = 1
    assert (cfg.lr, cfg.model.depth) == (0.1, 1)


def test_wrong_arguments(tmp_path):
    with pytest.raises(TypeError, match=r"cfg_dict must be a dict, got \[1\] of type list"):
        Config([1])
    for key in ("filename", "text", "pretty_text", "env_variables"):
        with pytest.raises(ConfigError, match=f"'{key}' is an attribute of Config and cannot be a key"):
            Config({key: 1})
        with pytest.raises(AttributeError, match=f"'{key}' is an attribute of Config"):
            setattr(Config(), key, 1)
    assert len(Config()) == 0
    path = tmp_path / "a.py"
    path.write_text("x = 1\n")
    assert Config({"x": 1}, filename=path).text == "x = 1\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model.depth": 50}, {"depth": 50, "heads": [{"k": 1}, {"k": 2}]}),
        ({"model.head.size": 1}, {"depth": 18, "heads": [{"k": 1}, {"k": 2}], "head": {"size": 1}}),
        ({"model.heads.1.k": 9, "model.depth": 1}, {"depth": 1, "heads": [{"k": 1}, {"k": 9}]}),
        ({"model.heads.0": 9}, {"depth": 18, "heads": [9, {"k": 2}]}),
        ({"model": {"heads": {"0": {"k": 7}}}}, {"depth": 18, "heads": [{"k": 7}, {"k": 2}]}),
        ({"model.heads.0": {"_delete_": True, "z": 1}}, {"depth": 18, "heads": [{"z": 1}, {"k": 2}]}),
        ({"model": {"_delete_": True, "a": 1}}, {"a": 1}),
        ({"model.heads": []}, {"depth": 18, "heads": []}),
        ({"model": 3}, 3),
    ],
)
def test_merge_from_dict(cfg, options, expected):
    before = copy.deepcopy(options)
    cfg.merge_from_dict(options)
    assert cfg.model == expected
    assert options == before


@pytest.mark.parametrize(
    ("options", "kwargs", "message"),
    [
        ({"model.heads.5.k": 1}, {}, "'model.heads' has 2 items, so there is no index 5 to override"),
        ({"model.heads.x": 1}, {}, "'model.heads' is a list of 2 items: override one by its index, not by 'x'"),
        (
            {"model.heads.0.k": 1},
            {"allow_list_keys": False},
            "'model.heads' is a dict here but .* of type list in the base",
        ),
        ({"lr.x": 1}, {}, "'lr' is a dict here but 0.1 of type float in the base, so they cannot be merged"),
        ({"pair.0.q": 1}, {}, "'pair' is a dict here but .* of type tuple in the base"),
        ({"a": 1, "a.b": 2}, {}, "option 'a.b': 'a' is already set to 1 by another option"),
    ],
)
def test_merge_from_dict_refuses_and_leaves_the_config_alone(cfg, options, kwargs, message):
    before = cfg.to_dict()
    with pytest.raises((ConfigError, ConfigTypeError), match=message):
        cfg.merge_from_dict(options, **kwargs)
    assert cfg.to_dict() == before


def test_import_is_light():
    code = (
        "import sys, trainwright.config; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'yaml', 'inspect')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

import argparse
import math

import pytest

from trainwright.base.errors import ConfigError
from trainwright.config import Config, DictAction, parse_options


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e-3", 0.001),
        ("inf", math.inf),
        ("true", True),
        ("False", False),
        ("None", None),
        ("none", "none"),
        ("adam", "adam"),
        ("", ""),
        ("b=c", "b=c"),
        ("[1,2]", [1, 2]),
        ("[1, 2]", [1, 2]),
        ("(1,2)", (1, 2)),
        ("(1,)", (1,)),
        ("[]", []),
        ("()", ()),
        ("1,2", [1, 2]),
        ("x,y", ["x", "y"]),
        ("1,", [1]),
        ("[[1,2],[3]]", [[1, 2], [3]]),
        ("[(a,b),(c,1)]", [("a", "b"), ("c", 1)]),
        ("(1,2),(3,4)", [(1, 2), (3, 4)]),
        ("[1,2], [[3]]", [[1, 2], [[3]]]),
        ("'[1,2]'", [1, 2]),
        ('"x"', "x"),
        ("['x','y']", ["x", "y"]),
        ("/data/my set", "/data/my set"),
        ("{x:1}", "{x:1}"),
        ("f(a,b)", "f(a,b)"),
        ("[", "["),
    ],
)
def test_values(text, value):
    parsed = parse_options([f"a.b={text}"])
    assert parsed == {"a.b": value}
    assert type(parsed["a.b"]) is type(value)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("lr", "an option is written KEY=VALUE, got 'lr'"),
        ("=3", "an option is written KEY=VALUE, got '=3'"),
        ("a=[(1,2]", r"option 'a=\[\(1,2\]': brackets do not match"),
        ("a=1],[2", "brackets do not match"),
    ],
)
def test_what_is_no_option(option, message):
    with pytest.raises(ConfigError, match=message):
        parse_options([option])


def test_dict_action_collects_and_repeats():
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={"z": 0})
    args = parser.parse_args(["--cfg-options", "a.b=1", "c=x", "--cfg-options", "c=[2]"])
    assert args.cfg_options == {"z": 0, "a.b": 1, "c": [2]}
    assert parser.parse_args([]).cfg_options == {"z": 0}
    with pytest.raises(argparse.ArgumentError, match="an option is written KEY=VALUE, got 'lr'"):
        parser.parse_args(["--cfg-options", "lr"])


def test_dict_action_takes_a_single_value():
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", action=DictAction)
    assert parser.parse_args(["--set", "a=1"]).set == {"a": 1}


def test_options_override_a_config():
    cfg = Config({"optim": {"lr": 0.1}, "steps": [{"n": 1}]})
    cfg.merge_from_dict(parse_options(["optim.lr=0.2", "steps.0.n=5"]))
    assert cfg.to_dict() == {"optim": {"lr": 0.2}, "steps": [{"n": 5}]}

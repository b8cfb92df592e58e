"""The project's own checks can fail, and say what is wrong."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def load(name):
    spec = importlib.util.spec_from_file_location(f"tools_{name}", TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


check_sizes, check_source = load("check_sizes"), load("check_source")


@pytest.fixture
def report(tmp_path, capsys):
    def run(tool, source):
        file = tmp_path / "module.py"
        file.write_text(source)
        status = tool.main([str(file)])
        return status, capsys.readouterr().out

    return run


def function_of(n_lines, docstring=""):
    return f"def f():\n{docstring}" + "    x = 1\n" * (n_lines - 1)


def test_sizes_within_the_limits_pass(report):
    docstring = '    """One.\n\n    Two.\n    """\n'
    parameters = ", ".join("abcdefgh")
    source = function_of(50, docstring) + f"class A:\n    def f(self, {parameters}): ...\n" + "\n" * 440
    assert report(check_sizes, source) == (0, "sizes: 1 files within the limits\n")


def test_a_long_function_is_a_breach(report):
    status, out = report(check_sizes, function_of(51))
    assert status == 1
    assert "module.py:1: f has 51 lines without its docstring (limit 50)" in out


def test_too_many_parameters_are_a_breach_whatever_their_kind(report):
    status, out = report(check_sizes, "class A:\n    def f(self, a, b, /, c, d, *e, f, g, h, **i): ...\n")
    assert status == 1
    assert "module.py:2: A.f takes 9 parameters (limit 8; group them in a dataclass)" in out
    assert report(check_sizes, "class A:\n    @staticmethod\n    def f(a, b, c, d, e, f, g, h): ...\n")[0] == 0


def test_a_long_file_is_a_breach(report):
    assert "module.py:1: file has 501 lines (limit 500)" in report(check_sizes, "x = 1\n" * 501)[1]


def test_an_exemption_that_is_not_needed_is_a_breach(report, tmp_path, monkeypatch):
    key = (str(tmp_path / "module.py"), "f", "lines")
    monkeypatch.setitem(check_sizes.EXEMPT, key, "a reason")
    assert report(check_sizes, function_of(51))[0] == 0
    status, out = report(check_sizes, function_of(50))
    assert status == 1
    assert "f is exempt from the limit on lines but keeps it: take it off EXEMPT" in out


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("import torch\ntorch.load('x')\n", "torch.load: say weights_only=True"),
        ("import torch\ntorch.load('x', weights_only=False)\n", "torch.load: say weights_only=True"),
        ("from torch import load as get\nget('x')\n", "torch.load: say weights_only=True"),
        ("import pickle as p\np.load(file)\n", "pickle.load: runs code from the file"),
        ("def f():\n    return Unpickler(file)\nfrom pickle import Unpickler\n", "pickle.Unpickler: runs code"),
        ("import yaml\nyaml.load(text)\n", "yaml.load: use yaml.safe_load"),
        ("import time\ntime.sleep(1)\n", "time.sleep: wait on an event, with a time limit"),
        ("from time import sleep\nsleep(1)\n", "time.sleep: wait on an event, with a time limit"),
        ("eval('1')\n", "eval: runs text as code"),
        ("import builtins\nbuiltins.exec('1')\n", "exec: runs text as code"),
    ],
)
def test_forbidden_calls_are_found_by_any_name(report, source, call):
    status, out = report(check_source, source)
    assert status == 1
    assert call in out


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load('x', weights_only=True)\n",
        "model.eval()\n",
        "import re, torch\nre.compile('x')\ntorch.compile(model)\n",
        "import yaml\nyaml.safe_load(text)\n",
        "'time.sleep(1)'  # eval(x)\n",
    ],
)
def test_what_only_looks_alike_passes(report, source):
    assert report(check_source, source) == (0, "source: 1 files, 0 forbidden call(s)\n")

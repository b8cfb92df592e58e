import collections
import json
import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec

import pytest

from trainwright import registry as registry_package
from trainwright.registry import Registry, count_registered_modules, traverse_registry_tree

# Run with either engine: what the functions say of a tree of two registries, and of all roots.
SCRIPT = """
import collections, json, json.decoder, logging, sys
from {package}.registry import Registry, count_registered_modules, traverse_registry_tree

logging.disable(logging.CRITICAL)
root = Registry("thing", scope="top")
child = Registry("thing", parent=root, scope="sub")
root.register_module(module=collections.OrderedDict)
root.register_module(module=json.decoder.JSONDecoder)
child.register_module(name="x", module=int)
child.register_module(module=json.decoder.JSONDecodeError)
scan = count_registered_modules(sys.argv[1], verbose=False)
written = json.load(open(sys.argv[1] + "/modules_statistic_results.json"))
hooks = sorted(scan["registries"]["HOOKS"][0], key=len)
print(json.dumps([traverse_registry_tree(child, False), list(scan), list(scan["registries"]), written == scan, hooks]))
"""


def small_tree():
    root = Registry("thing", scope="top")
    child = Registry("thing", parent=root, scope="sub")
    root.register_module(module=collections.OrderedDict)
    root.register_module(module=json.JSONDecoder)
    child.register_module(name="x", module=int)
    child.register_module(name="p", module=partial(int))
    return root, child


def test_a_tree_is_told_from_its_root_whichever_registry_is_given():
    root, child = small_tree()
    expected = [
        {"num_modules": 2, "scope": "top", "": ["OrderedDict"], "json": ["JSONDecoder"]},
        {"num_modules": 2, "scope": "sub", "": ["x", "p"]},
    ]
    assert traverse_registry_tree(root, verbose=False) == expected
    assert traverse_registry_tree(child, verbose=False) == expected


def test_verbose_logs_the_counts(capsys):
    traverse_registry_tree(small_tree()[0])
    err = capsys.readouterr().err
    assert "2 names in registry 'thing' of scope 'top'" in err
    assert "2 names in registry 'thing' of scope 'sub'" in err


def test_all_root_registries_are_counted_and_written(tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    scan = count_registered_modules(str(folder), verbose=False)
    assert list(scan) == ["scan_date", "registries"]
    roots = sorted(name for name, value in vars(registry_package).items() if isinstance(value, Registry))
    assert list(scan["registries"]) == roots
    assert "LoggerHook" in scan["registries"]["HOOKS"][0]["trainwright/hooks"]
    assert "SGD" in scan["registries"]["OPTIMIZERS"][0]["torch/optim"]
    path = folder / "modules_statistic_results.json"
    assert json.loads(path.read_text()) == scan
    assert f"what is registered was written to {path}" in capsys.readouterr().err


@pytest.mark.peer
def test_the_answers_are_mmengines(tmp_path):
    python = os.environ.get("TRAINWRIGHT_PEER_PYTHON") or (sys.executable if find_spec("mmengine") else None)
    if python is None:
        pytest.skip("no MMEngine: `make peers` installs it, or TRAINWRIGHT_PEER_PYTHON names a Python that has it")
    answers = []
    for engine, package in ((python, "mmengine"), (sys.executable, "trainwright")):
        command = [engine, "-c", SCRIPT.format(package=package), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        answers.append(json.loads(done.stdout.splitlines()[-1].replace("mmengine/", "trainwright/")))
    assert answers[0] == answers[1]

"""``trainwright config`` in this process."""

import json
import os

import pytest

from trainwright.config import Config

BASE = """optimizer = dict(type="SGD", lr=0.1, momentum=0.9)
pipeline = [
    dict(type="Load"),
    dict(type="Flip", prob=0.5),
]
"""
CHILD = """_base_ = ["./base.py"]
optimizer = dict(lr=0.2)
size = (32, 32)
other = _base_.pipeline
empty = dict(a=[], b=dict())
globals().update({"odd key": dict(x=1), None: "ünï"})
"""
IMPORTS = """from torch.optim import SGD
from trainwright.config.reading.bases import *

with read_base():
    from .base import pipeline

optimizer = dict(type=SGD, lr=0.1, momentum=0.9)
"""


@pytest.fixture
def configs(project):
    """A base, a child of it in text syntax, and one in import syntax."""
    (project / "base.py").write_text(BASE)
    (project / "child.py").write_text(CHILD)
    (project / "imports.py").write_text(IMPORTS.replace("from trainwright.config.reading.bases import *\n", ""))
    return project


def read(path):
    return Config.fromfile(path)._to_lazy_dict()


# -- show --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["toy.py", "child.py", "imports.py"])
@pytest.mark.parametrize("options", [[], ["--origin"]])
def test_what_is_shown_reads_back_as_the_same_config(command, configs, name, options):
    code, out, err = command("config", "show", name, *options)
    assert (code, err) == (0, "")
    (configs / "shown.py").write_text(out)
    assert read("shown.py") == read(name)
    assert not out.endswith("\n\n")


def test_show_applies_options(command, configs):
    code, out, _ = command("config", "show", "base.py", "--cfg-options", "optimizer.lr=1.5", "pipeline.1.prob=1")
    assert code == 0
    assert out == (
        'optimizer = dict(type="SGD", lr=1.5, momentum=0.9)\n'
        'pipeline = [dict(type="Load"), dict(type="Flip", prob=1)]\n'
    )


def test_show_where_each_value_was_set(command, configs):
    code, out, _ = command("config", "show", "child.py", "--origin", "--cfg-options", "pipeline.1.prob=1")
    assert code == 0
    shown, _, defaults = out.partition("\n\n# Set by no file, these are defaults:\n")
    assert shown.splitlines() == [
        "optimizer = dict(",
        '    type="SGD",                   # base.py:1',
        "    lr=0.2,                       # child.py:2",
        "    momentum=0.9,                 # base.py:1",
        ")",
        "pipeline = [",
        '    dict(type="Load"),            # base.py:3',
        "    dict(",
        '        type="Flip",              # base.py:4',
        "        prob=1,                   # --cfg-options",
        "    ),",
        "]",
        "size = (32, 32)                   # child.py:3",
        "other = [",
        '    dict(type="Load"),            # base.py:3',
        '    dict(type="Flip", prob=0.5),  # base.py:4',
        "]",
        "empty = dict(a=[], b=dict())      # child.py:5",
        "globals().update({",
        '    "odd key": dict(x=1),         # child.py:6',
        '    None: "ünï",                  # child.py:6',
        "})",
    ]
    lines = defaults.splitlines()
    assert all(line.startswith("# ") for line in lines)
    assert '# default_hooks.checkpoint = dict(type="CheckpointHook", interval=1)' in lines
    assert 'launcher = "none"' in defaults


def test_a_long_line_has_its_origin_right_behind_it(command, configs):
    (configs / "long.py").write_text(f'a = 1\nb = dict(text="{"x" * 90}")\nc = ["{"y" * 60}", "{"z" * 60}"]\n')
    _, out, _ = command("config", "show", "long.py", "--origin")
    assert out.splitlines()[:4] == [
        "a = 1" + " " * 61 + "# long.py:1",
        "b = dict(",
        f'    text="{"x" * 90}",  # long.py:2',
        ")",
    ]


def test_defaults_that_a_config_sets_are_not_shown(command, configs):
    _, out, _ = command("config", "show", "toy.py", "--origin")
    defaults = out.partition("# Set by no file, these are defaults:\n")[2]
    assert "default_hooks.timer = " in defaults
    assert "default_hooks.logger" not in defaults
    assert "randomness" not in defaults
    assert 'launcher = "none"' in defaults


def test_show_as_json(command, configs):
    _, out, _ = command("config", "show", "child.py", "--json", "--cfg-options", "optimizer.lr=inf")
    shown = json.loads(out)
    assert shown["config"]["optimizer"] == {"type": "SGD", "lr": "inf", "momentum": 0.9}
    assert shown["config"]["size"] == [32, 32]
    assert shown["config"]["None"] == "ünï"
    base = str(configs / "base.py")
    assert shown["origins"]["optimizer.momentum"] == {"file": base, "line": 1, "kind": "file", "label": "base.py:1"}
    override = {"file": None, "line": None, "kind": "override", "label": "--cfg-options"}
    assert shown["origins"]["optimizer.lr"] == override
    assert shown["defaults"]["launcher"] == "none"
    assert "ünï" in out


def test_json_holds_what_it_has_no_word_for(command, configs):
    (configs / "odd.py").write_text("a = 0x" + "f" * 5000 + "\nb = 'half \\ud800'\nc = float('inf')\n")
    shown = json.loads(command("config", "show", "odd.py", "--json")[1])
    assert shown["config"] == {"a": "0x" + "f" * 5000, "b": "half \ud800", "c": "inf"}


def test_show_names_of_the_import_syntax_are_dotted_in_json(command, configs):
    _, out, _ = command("config", "show", "imports.py", "--json")
    assert json.loads(out)["config"]["optimizer"]["type"] == "torch.optim.SGD"


def test_custom_imports_are_not_made_to_show_a_config(command, configs):
    (configs / "custom.py").write_text('custom_imports = dict(imports=["no_such_module"])\nx = 1\n')
    for words in (["show", "custom.py"], ["tree", "custom.py"], ["diff", "custom.py", "custom.py"]):
        assert command("config", *words)[0] == 0


# -- validate ----------------------------------------------------------------------------------------------------------
def test_show_untrusted_runs_nothing(command, configs):
    code, out, _ = command("config", "show", "child.py", "--untrusted")
    assert (code, out) == (0, Config.fromfile("child.py").pretty_text)
    (configs / "evil.py").write_text("import os\nx = os.getcwd()\n")
    code, out, err = command("config", "show", "evil.py", "--untrusted")
    assert (code, out) == (1, "")
    assert "evil.py:2: the call `os.getcwd()` would have to be run" in err


def test_a_valid_config(command, configs):
    code, out, err = command("config", "validate", "toy.py")
    assert (code, out, err) == (0, "toy.py: no problems\n", "")
    assert os.listdir(configs / "work_dirs") == [] if (configs / "work_dirs").exists() else True


def test_problems_have_file_and_line_and_are_counted(command, configs):
    (configs / "wrong.py").write_text(
        '_base_ = "toy.py"\n'
        "model = dict(widht=3)\n"
        'optim_wrapper = dict(optimizer=dict(type="SDG"))\n'
        "param_scheduler = dict(T_max=5, end=5)\n"
    )
    code, out, err = command("config", "validate", "wrong.py", "--cfg-options", "default_hooks.checkpoint.save_best=x")
    assert (code, err) == (1, "")
    assert "wrong.py:3: error: optim_wrapper.optimizer.type: SDG is not in the trainwright::optimizer registry" in out
    assert "Did you mean 'SGD'?" in out
    assert "--cfg-options: error: default_hooks.checkpoint.save_best: save_best='x' is not among" in out
    assert "wrong.py:4: warning: param_scheduler" in out
    assert out.splitlines()[-1] == "wrong.py: 3 errors, 1 warning"
    assert out.index("error:") < out.index("warning:")
    assert "'widht'" in out


def test_warnings_alone_are_no_failure(command, configs):
    code, out, _ = command("config", "validate", "toy.py", "--cfg-options", "param_scheduler.end=9")
    assert code == 0
    assert out.splitlines()[-1] == "toy.py: 1 warning"


def test_problems_as_json(command, configs):
    code, out, _ = command("config", "validate", "toy.py", "--json", "--cfg-options", "val_evaluator.type=Acuracy")
    found = json.loads(out)
    assert (code, found["valid"]) == (1, False)
    problem = found["problems"][0]
    assert problem["level"] == "error"
    assert problem["path"][0] == "val_evaluator"
    assert "Acuracy is not in" in problem["message"]
    assert problem["origin"]["label"] == "--cfg-options"


def test_a_config_that_cannot_be_read(command, configs):
    (configs / "broken.py").write_text("a = 1\nb = (\n")
    code, out, err = command("config", "validate", "broken.py")
    assert (code, out) == (1, "")
    assert "broken.py:2" in err
    code, out, err = command("config", "validate", "broken.py", "--json")
    assert (code, err) == (1, "")
    (problem,) = json.loads(out)["problems"]
    assert problem["origin"]["line"] == 2
    code, _, err = command("config", "show", "bas.py")
    assert code == 1
    assert "Did you mean 'base.py'?" in err


# -- diff --------------------------------------------------------------------------------------------------------------
def test_equal_configs(command, configs):
    assert command("config", "diff", "base.py", "base.py") == (0, "no difference\n", "")
    code, out, _ = command("config", "diff", "base.py", "base.py", "--json")
    assert (code, json.loads(out)) == (0, {"equal": True, "changes": []})


def test_different_configs(command, configs):
    (configs / "other.py").write_text(BASE.replace("0.1", "0.3").replace('dict(type="Load"),', ""))
    code, out, err = command("config", "diff", "base.py", "other.py")
    assert (code, err) == (1, "")
    assert out == (
        "--- base.py\n+++ other.py\n"
        "  optimizer\n-   lr = 0.1\n+   lr = 0.3\n"
        '  pipeline\n-   [0] = dict(type="Load")\n'
        "1 changed, 1 removed\n"
    )
    code, out, _ = command("config", "diff", "base.py", "other.py", "--json")
    assert code == 1
    assert json.loads(out)["changes"] == [
        {"path": ["optimizer", "lr"], "key": "optimizer.lr", "kind": "changed", "old": 0.1, "new": 0.3},
        {"path": ["pipeline", 0], "key": "pipeline.0", "kind": "removed", "old": {"type": "Load"}},
    ]


def test_a_run_is_compared_by_its_newest_config(command, configs):
    for stamp, text in (("20250101_000000", "a = 1\n"), ("20250202_000000", "a = 2\n")):
        folder = configs / "run" / stamp / "vis_data"
        folder.mkdir(parents=True)
        (folder / "config.py").write_text(text)
    (configs / "two.py").write_text("a = 2\n")
    assert command("config", "diff", "two.py", "run")[0] == 0
    assert command("config", "diff", "two.py", "run/20250202_000000")[0] == 0
    assert command("config", "diff", "two.py", "run/20250101_000000")[0] == 1


@pytest.mark.parametrize("words", [["base.py", "nothing.py"], ["base.py", "empty"]])
def test_a_config_that_cannot_be_compared_is_2(command, configs, words):
    (configs / "empty").mkdir()
    code, out, err = command("config", "diff", *words)
    assert (code, out) == (2, "")
    assert "does not exist" in err or "a folder without a dumped config" in err
    code, out, err = command("config", "diff", *words, "--json")
    assert (code, err) == (2, "")
    assert json.loads(out)["error"]


# -- tree --------------------------------------------------------------------------------------------------------------
def test_the_chain_of_bases(command, configs):
    (configs / "sub").mkdir()
    (configs / "sub" / "middle.py").write_text('_base_ = "../base.py"\nx = 1\n')
    (configs / "again.py").write_text('# a comment\n_base_ = ["sub/middle.py", "y.yaml"]\n')
    (configs / "y.yaml").write_text("y: 1\n")
    code, out, _ = command("config", "tree", "again.py")
    assert code == 0
    assert out == ("again.py\n├── sub/middle.py  again.py:2\n│   └── ../base.py  middle.py:1\n└── y.yaml  again.py:2\n")
    _, out, _ = command("config", "tree", "imports.py")
    assert out == "imports.py\n└── base.py  imports.py:4 imports pipeline\n"


def test_the_tree_counts_what_is_read_twice(command, configs):
    (configs / "left.py").write_text("with read_base():\n    from .base import *\n")
    (configs / "right.py").write_text("with read_base():\n    from .base import optimizer as opt\n")
    (configs / "top.py").write_text("with read_base():\n    from .left import *\n    from .right import *\n")
    _, out, _ = command("config", "tree", "top.py")
    assert out == (
        "top.py\n"
        "├── left.py  top.py:2 imports everything\n"
        "│   └── base.py  read 2 times  left.py:2 imports everything\n"
        "└── right.py  top.py:3 imports everything\n"
        "    └── base.py  read 2 times  right.py:2 imports optimizer as opt\n"
    )
    _, out, _ = command("config", "tree", "top.py", "--json")
    tree = json.loads(out)
    assert tree["path"] == str(configs / "top.py")
    left = tree["bases"][0]
    assert (left["name"], left["line"], left["syntax"]) == ("left.py", 2, "import")
    assert left["bases"][0]["times_read"] == 2


def test_a_base_in_a_package_keeps_its_name(command, configs, monkeypatch):
    folder = configs / "some_package" / "configs"
    folder.mkdir(parents=True)
    (configs / "some_package" / "__init__.py").write_text("")
    (folder / "defaults.py").write_text("x = 1\n")
    (configs / "uses.py").write_text('_base_ = [\n    "some_package::defaults.py",\n]\n')
    monkeypatch.syspath_prepend(str(configs))
    _, out, _ = command("config", "tree", "uses.py")
    assert out.splitlines()[1].startswith("└── some_package::defaults.py  uses.py:")


# -- migrate -----------------------------------------------------------------------------------------------------------
OLD = """optimizer = dict(type="SGD", lr=0.1)
lr_config = dict(policy="step", step=[2])
runner = dict(type="EpochBasedRunner", max_epochs=3)
workflow = [("train", 1), ("val", 1)]
default_scope = "mmengine"
"""


def test_migrate_writes_the_new_config_and_says_what_is_lost(command, configs):
    (configs / "old.py").write_text(OLD)
    code, out, err = command("config", "migrate", "old.py")
    assert code == 0
    assert out.startswith("# Migrated from old.py, written for MMCV 1.x.\n#\n# Look at these")
    assert "# - workflow: [('train', 1), ('val', 1)] also computed losses" in out
    assert err.startswith("workflow: [('train', 1), ('val', 1)] also computed losses on the validation data.")
    assert err.endswith("1 setting is not carried over exactly\n")
    (configs / "new.py").write_text(out)
    assert read("new.py") == {
        "default_scope": "mmengine",
        "train_cfg": {"by_epoch": True, "max_epochs": 3},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
        "param_scheduler": [{"type": "MultiStepLR", "by_epoch": True, "milestones": [2], "gamma": 0.1}],
    }
    code, out, err = command("config", "migrate", "old.py", "-o", "written.py")
    assert (code, out) == (0, "")
    assert (configs / "written.py").read_text() == (configs / "new.py").read_text()
    assert "trainwright config validate written.py" in err
    code, out, _ = command("config", "migrate", "old.py", "--json")
    result = json.loads(out)
    assert result["changed"] is True
    assert result["config"]["train_cfg"] == {"by_epoch": True, "max_epochs": 3}
    assert [set(note) for note in result["notes"]] == [{"key", "why", "todo"}]


def test_migrate_leaves_todays_form_alone(command, configs):
    code, out, err = command("config", "migrate", "toy.py")
    assert code == 0
    assert err == "toy.py has today's form already; nothing was changed\n"
    assert out == command("config", "show", "toy.py")[1]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["base.py", "-o", "base.py"], "'base.py' is the old config itself"),
        (["base.py", "-o", "new.yaml"], "must end in .py, got 'new.yaml'"),
        (["size.py"], "size.py: this is no config of a training for MMCV 1.x: none of its keys (size)"),
    ],
)
def test_migrate_refuses(command, configs, words, text):
    (configs / "size.py").write_text("size = 1\n")
    before = (configs / "base.py").read_text()
    code, out, err = command("config", "migrate", *words)
    assert (code, out) == (1, "")
    assert text in err
    assert (configs / "base.py").read_text() == before

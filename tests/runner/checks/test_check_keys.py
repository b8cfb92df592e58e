"""The top of a config: names of keys, types of their values, the table of what Runner reads."""

import inspect
import logging
import os
from pathlib import Path

import pytest

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.config import Config
from trainwright.engine import Hook
from trainwright.runner import Runner
from trainwright.runner.check import Problem, validate
from trainwright.runner.spec import KEYS, REQUIRED, runner_defaults
from trainwright.testing.toys import toy_config


def test_the_table_is_what_runner_takes():
    parameters = inspect.signature(Runner.__init__).parameters
    taken = {name: p.default for name, p in parameters.items() if name not in ("self", "cfg")}
    empty = inspect.Parameter.empty
    table = {key.name: empty if key.default is REQUIRED else key.default for key in KEYS}
    table["compile"] = None  # Runner's None is what the config says, and that is False when it says nothing
    assert table == taken
    assert list(table) == list(taken)
    assert all(key.means and key.types for key in KEYS)


def test_defaults_that_apply():
    defaults = runner_defaults()
    assert "model" not in defaults
    assert "work_dir" not in defaults
    assert len(defaults["default_hooks"]) == 6
    assert defaults["default_hooks"]["checkpoint"] == {"type": "CheckpointHook", "interval": 1}
    assert defaults["log_processor"] == {"type": "LogProcessor"}
    assert (defaults["resume"], defaults["compile"], defaults["load_from"]) == (False, False, None)
    defaults["default_hooks"].clear()
    assert len(runner_defaults()["default_hooks"]) == 6


WRONG = {
    "model": (3, "must be an nn.Module, a dict or a list, but got 3."),
    "work_dir": (3, "must be a string or a path, but got 3."),
    "train_dataloader": ("x", "must be a DataLoader, a dict, a list or a tuple, but got 'x'."),
    "train_cfg": ("x", "must be a loop or a dict, but got 'x'."),
    "val_cfg": (True, "must be a loop or a dict, but got True."),
    "auto_scale_lr": (True, "must be a dict, but got True."),
    "optim_wrapper": ([], "must be an OptimWrapper or a dict, but got []."),
    "param_scheduler": ("x", "`param_scheduler` should be a scheduler, a dict, a list or a tuple, but got 'x'."),
    "val_evaluator": ("Accuracy", "must be an Evaluator, a dict, a list or a tuple, but got 'Accuracy'."),
    "default_hooks": ([], "must be a dict, but got []."),
    "custom_hooks": ({"type": "x"}, "must be a list or a tuple, but got {'type': 'x'}."),
    "data_preprocessor": ("x", "must be an nn.Module or a dict, but got 'x'."),
    "load_from": (True, "must be a string or a path, but got True."),
    "resume": (1, "must be True or False, a string or a path, but got 1."),
    "launcher": (3, "must be a string, but got 3."),
    "env_cfg": ("x", "must be a dict, but got 'x'."),
    "log_processor": ("x", "must be a LogProcessor or a dict, but got 'x'."),
    "log_level": (True, "must be a whole number or a string, but got True."),
    "visualizer": ([], "must be a Visualizer or a dict, but got []."),
    "default_scope": (3, "must be a string, but got 3."),
    "randomness": (3, "must be a dict, but got 3."),
    "experiment_name": (3, "must be a string, but got 3."),
    "strategy": ("x", "must be a strategy or a dict, but got 'x'."),
    "compile": ("x", "must be True or False or a dict, but got 'x'."),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_value_of_the_wrong_type(found, key):
    value, text = WRONG[key]
    assert found(**{key: value}) == [("error", f"{key}: {text}")]


def test_types_that_are_right(found):
    changes = {
        "work_dir": Path("run"),
        "custom_hooks": (Hook(),),
        "log_level": logging.WARNING,
        "resume": False,
        "compile": {"mode": "default"},
        "val_evaluator": [{"type": "Accuracy"}],
        "env_cfg": {"cudnn_benchmark": True, "mp_cfg": {"mp_start_method": "fork"}, "dist_cfg": {}},
    }
    assert found(**changes) == []


def test_none_stands_for_the_default(found, tmp_path):
    nothing = {key.name: None for key in KEYS if key.default is not REQUIRED}
    runner = Runner(**toy_config(tmp_path / "run") | nothing)
    assert runner.logger.handlers[0].level == logging.INFO
    assert (runner._scope, runner.launcher) == ("mmengine", "none")


def test_one_that_is_wrong_is_raised_as_itself(tmp_path):
    with pytest.raises(ConfigTypeError, match=r"^train_cfg: must be a loop or a dict, but got 'x'\.$"):
        Runner.from_cfg(toy_config(tmp_path / "run", train_cfg="x"))
    with pytest.raises(ConfigTypeError, match=r"^model: must be an nn.Module, a dict or a list, but got 3\.$"):
        Runner(3, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_level_that_is_none(found):
    text = "'INFOO' is no level; it is a number or one of DEBUG, INFO, WARNING, ERROR, CRITICAL. Did you mean 'INFO'?"
    assert found(log_level="INFOO") == [("error", f"log_level: {text}")]


def test_a_scope_that_nobody_has(found):
    ((level, text),) = found(default_scope="nozoo")
    assert level == "warning"
    assert text.startswith("default_scope: no registry has the scope 'nozoo', so names are looked up without it")
    assert "there is no module nozoo.registry." in text


def test_keys_that_every_run_needs():
    cfg = toy_config("run", train_cfg="x")
    del cfg["model"], cfg["work_dir"]
    texts = [str(problem) for problem in validate(Config(cfg))]
    assert texts == [
        "the config lacks 'model', which every run needs.",
        "the config lacks 'work_dir', which every run needs.",
        "train_cfg: must be a loop or a dict, but got 'x'.",
    ]
    with pytest.raises(ConfigTypeError, match="the config has 3 problems:\nthe config lacks 'model'"):
        Runner.from_cfg(cfg)


def test_a_runner_type_that_nobody_has(found):
    ((level, text),) = found(runner_type="Runer")
    assert level == "error"
    assert text.startswith("runner_type: Runer is not in the trainwright::runner registry")
    assert "Did you mean 'Runner'?" in text


# -- keys that nobody reads --------------------------------------------------------------------------------------------


def test_a_key_that_nobody_reads(written):
    cfg = written("img_size = 3\n_mine = 4\ndef helper():\n    pass\nimport os\n")
    assert [(p.level, p.where) for p in validate(cfg)] == [("warning", ("img_size",))]
    text = str(validate(cfg)[0])
    assert text.startswith("a.py:2: img_size: nobody reads 'img_size': it is no key of Runner's, and no other value is")


def test_a_key_that_others_are_made_from_is_read(written):
    text = "\n".join(
        [
            "epochs = 3",
            "widths = [1, 2]",
            "test_cfgs = 7",  # so near to a key of Runner's that it would be an error
            "train_cfg = dict(by_epoch=True, max_epochs=epochs)",
            "model = dict(n_terms=len(widths) + test_cfgs - 7)",
        ]
    )
    assert validate(written(text)) == []


def test_changing_a_key_after_others_were_made_from_it_is_too_late(written):
    cfg = written("epochs = 3\ntrain_cfg = dict(by_epoch=True, max_epochs=epochs)\n")
    cfg.merge_from_dict({"epochs": 5, "train_cfg.val_interval": 3})
    (problem,) = validate(cfg)
    assert (problem.level, problem.key) == ("warning", "epochs")
    assert "changing 'epochs' has no effect: what is made from it was made when the file was read" in problem.message


def test_a_key_that_a_file_further_on_reads_is_read(written, tmp_path):
    (tmp_path / "b.py").write_text("epochs = 3\n")
    (tmp_path / "c.py").write_text(
        "_base_ = ['toy.py', 'b.py']\ntrain_cfg = dict(by_epoch=True, max_epochs=_base_.epochs)\n"
    )
    written("")
    assert validate(Config.fromfile("c.py")) == []


def test_a_key_that_is_nearly_one_of_runners(written):
    (problem,) = validate(written("\ntrain_dataloder = 1\n"))
    assert problem.level == "error"
    assert str(problem).startswith(
        "a.py:3: train_dataloder: unknown top-level key 'train_dataloder'. Did you mean 'train_dataloader'? If it is"
    )


def test_the_variables_of_a_dumped_config_are_known(written):
    settings = (
        "size = {}\nkind = {!r}\nsteps = {}\nodd = 5\nzero = 0\ncustom_hooks = [dict(type={!r}, size={}, steps={})]\n"
    )
    text = settings.format(3, "LoggerHook", [1, 2], "LoggerHook", 3, [1, 2])
    told = [p.where for p in validate(written(text)) if "nobody reads" in p.message]
    assert told == [("odd",), ("zero",)]
    told = [p.where for p in validate(written("a = 1\nb = a\n" + text)) if "nobody reads" in p.message]
    assert told == [("b",), ("size",), ("kind",), ("steps",), ("odd",), ("zero",)]


def test_a_part_of_a_name_of_runners_is_no_misspelling(found):
    assert found(level=3, hooks=[], scope="x", data={}) == []


def test_a_config_made_in_code_may_have_any_further_key(found):
    assert found(img_size=3) == []


def test_warnings_are_logged_once(written, capsys):
    cfg = written("img_size = 3\nlog_level = 'INFO'\n")
    runner = Runner.from_cfg(cfg)
    assert capsys.readouterr().err.count("a.py:2: img_size: nobody reads 'img_size'") == 1
    runner.train()
    assert "nobody reads" not in capsys.readouterr().err
    with open(os.path.join(runner.log_dir, f"{runner.timestamp}.log"), encoding="utf-8") as file:
        assert file.read().count("nobody reads 'img_size'") == 1


# -- the list ----------------------------------------------------------------------------------------------------------


def test_all_groups_are_in_one_error_each_with_its_line(written):
    cfg = written(
        "\n".join(
            [
                "train_cfg = dict(by_epoch=True, max_epochs=[2])",
                "train_dataloder = 1",
                "optim_wrapper = dict(",
                "    optimizer=dict(",
                "        type='SDG',",
                "    ),",
                ")",
                "val_evaluator = None",
                "launcher = 'slrm'",
                "load_from = 'nowhere.pth'",
                "param_scheduler = [dict(type='MultiStepLR', gama=1, milestones=[1])]",
                "default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1.5))",
            ]
        )
    )
    with pytest.raises(ConfigTypeError) as caught:
        Runner.from_cfg(cfg)
    lines = [line for line in str(caught.value).splitlines() if not line.startswith("    ")]
    assert lines[0] == "the config has 8 problems:"
    assert [line.partition(": ")[0] for line in lines[1:]] == [
        "a.py:3",
        "toy.py:6",
        "a.py:10",
        "a.py:11",
        "a.py:2",
        "a.py:6",
        "a.py:12",
        "a.py:13",
    ]
    starts = ["train_dataloder", "val_dataloader", "launcher", "load_from", "train_cfg.max_epochs"]
    starts += ["optim_wrapper.optimizer.type", "param_scheduler.0.gama", "default_hooks.checkpoint.interval"]
    assert [line.split(": ")[1] for line in lines[1:]] == starts
    assert not Path("run").exists()


def test_an_override_is_named_by_its_label(written):
    cfg = written("")
    cfg.merge_from_dict({"model.dropuot": 1})
    (problem,) = validate(cfg)
    assert problem.key == "model.dropuot"
    assert str(problem).startswith(f"{cfg.origin('model.dropuot')}: model.dropuot: ToyModel: unknown argument")


def test_a_single_error_has_its_file_and_line(written):
    with pytest.raises(ConfigError, match=r"^a\.py:2: launcher: launcher 'slrm' is not available") as caught:
        Runner.from_cfg(written("launcher = 'slrm'\n"))
    assert caught.value.lineno == 2
    assert str(caught.value.filename).endswith("a.py")


def test_what_one_line_puts_to_several_places_is_said_once(written):
    cfg = written(
        "loader = _base_.val_dataloader\nloader['batch_siz'] = 1\nval_dataloader = loader\ntrain_dataloader = loader\n"
    )
    problems = [p for p in validate(cfg) if p.level == "error"]
    (problem,) = problems
    assert problem.where == ("train_dataloader", "batch_siz")
    assert problem.also == (("val_dataloader", "batch_siz"),)
    assert str(problem).endswith("Did you mean 'batch_size'? (The same at val_dataloader.batch_siz.)")


def test_a_problem_reads_as_one_line():
    assert str(Problem(("a", 0, "b"), "wrong.")) == "a.0.b: wrong."
    assert str(Problem((), "wrong.", origin="f.py:3")) == "f.py:3: wrong."
    assert Problem(("a", 0), "x").key == "a.0"
    assert Problem(("a",), "x") == Problem(("a",), "x", "error", ConfigError)


def test_a_subclass_may_add_what_the_config_lacks(tmp_path):
    class Own(Runner):
        def __init__(self, model, work_dir, **kwargs):
            kwargs["optim_wrapper"] = {"optimizer": {"type": "SGD", "lr": 0.1}}
            super().__init__(model, work_dir, **kwargs)

    cfg = toy_config(tmp_path / "run", optim_wrapper=None)
    Own.from_cfg(cfg).train()
    with pytest.raises(ConfigError, match="train_dataloader and train_cfg given, optim_wrapper missing"):
        Runner.from_cfg(cfg)

"""Hooks beside MMEngine's: signatures, when early stopping stops, when checkpoints are saved and published."""

import inspect
import math
import random
import re
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from trainwright import hooks
from trainwright.runner import Runner
from trainwright.testing.toys import ToyDataset, toy_config

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]  # MMEngine's own warnings
mmengine_hooks = pytest.importorskip("mmengine.hooks")
mmengine_runner = pytest.importorskip("mmengine.runner")
mmengine_model = pytest.importorskip("mmengine.model")
mmengine_evaluator = pytest.importorskip("mmengine.evaluator")

NAMES = [
    *("CheckpointHook", "EarlyStoppingHook", "SyncBuffersHook", "EmptyCacheHook", "NaiveVisualizationHook"),
    *("ProfilerHook", "PrepareTTAHook", "LoggerHook", "IterTimerHook"),
]


@pytest.mark.parametrize("name", NAMES)
def test_parameters_their_order_and_defaults(name):
    def listed(module):
        parameters = inspect.signature(getattr(module, name).__init__).parameters.values()
        return [(p.name, p.default, p.kind) for p in parameters if p.kind not in (p.VAR_KEYWORD, p.KEYWORD_ONLY)]

    assert listed(hooks) == listed(mmengine_hooks)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "EarlyStoppingHook"])
def test_priorities(name):
    assert getattr(hooks, name).priority == getattr(mmengine_hooks, name).priority


@pytest.mark.parametrize("seed", range(40))
def test_early_stopping_decides_the_same(seed):
    draw = random.Random(seed)
    name = draw.choice(["acc", "val/loss", "coco/bbox_mAP"])
    settings = {
        "min_delta": draw.choice([0.0, 0.1, 0.25]),
        "patience": draw.choice([0, 1, 2, 4]),
        "stopping_threshold": draw.choice([None, 0.25, 0.75]),
    }
    ours = hooks.EarlyStoppingHook(name, **settings)
    theirs = mmengine_hooks.EarlyStoppingHook(name, **settings)
    assert (ours.rule, ours.min_delta) == (theirs.rule, theirs.min_delta)
    for _ in range(12):
        value = draw.choice([draw.randrange(8) / 8, draw.random(), math.inf if draw.random() < 0.1 else 0.5])
        assert ours._check_stop_condition(value)[0] == theirs._check_stop_condition(value)[0]
        assert (ours.wait_count, ours.best_score) == (theirs.wait_count, theirs.best_score)


SCRIPT = [1, 1.5, 2, 2, 1, 0.5, 3, 4]


def their_run(folder, train_cfg, checkpoint, custom):
    class Model(mmengine_model.BaseModel):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(6, 3)

        def forward(self, inputs, label=None, mode="tensor"):
            scores = self.layer(inputs)
            return {"loss": scores.square().mean()} if mode == "loss" else [scores]

    class Metric(mmengine_evaluator.BaseMetric):
        default_prefix = "toy"
        values = iter(SCRIPT)

        def process(self, data_batch, data_samples):
            self.results.append(1)

        def compute_metrics(self, results):
            return {"acc": next(self.values)}

    runner = mmengine_runner.Runner(
        model=Model(),
        work_dir=str(folder),
        train_dataloader=DataLoader(ToyDataset(16), batch_size=4),
        val_dataloader=DataLoader(ToyDataset(8), batch_size=4),
        train_cfg=train_cfg,
        val_cfg={},
        val_evaluator=[Metric()],
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        default_hooks={"checkpoint": {"type": "CheckpointHook", **checkpoint}},
        custom_hooks=custom,
        experiment_name=str(folder).replace("/", "_"),  # their message hub is found by this name
        log_level="ERROR",
    )
    # Of PyTorch 2.6 on MMEngine cannot read its own checkpoints.
    with pytest.MonkeyPatch.context() as patch:
        load = torch.load
        patch.setattr(torch, "load", lambda *args, **kwargs: load(*args, **{**kwargs, "weights_only": False}))
        runner.train()
    return runner.iter


def our_run(folder, train_cfg, checkpoint, custom):
    cfg = toy_config(
        folder,
        train_cfg=train_cfg,
        val_evaluator={"type": "ScriptedMetric", "acc": SCRIPT},
        default_hooks={"checkpoint": {"type": "CheckpointHook", **checkpoint}},
        custom_hooks=custom,
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner.iter


def names(folder):
    return sorted(re.sub(r"-[0-9a-f]{8}\.pth", "-SHA.pth", path.name) for path in folder.rglob("*.pth"))


EPOCHS = {"by_epoch": True, "max_epochs": 6}
ITERATIONS = {"by_epoch": False, "max_iters": 12, "val_interval": 2}
BEST = {"save_best": "auto", "published_keys": ["meta", "state_dict"]}
STOP = [{"type": "EarlyStoppingHook", "monitor": "toy/acc", "patience": 2}]


@pytest.mark.parametrize(
    ("train_cfg", "checkpoint", "custom"),
    [
        (EPOCHS, {"interval": 1, **BEST}, []),
        (EPOCHS, {"interval": 1, "max_keep_ckpts": 2, **BEST}, STOP),
        (EPOCHS, {"interval": 2, "save_begin": 3, "save_last": False}, []),
        (EPOCHS, {"interval": 4, "out_dir": "out"}, []),
        (EPOCHS, {"interval": 1, "filename_tmpl": "my_{:04d}.pth", "published_keys": "state_dict"}, STOP),
        (EPOCHS, {"interval": -1, "save_last": False, "save_best": ["toy/acc"], "rule": ["less"]}, []),
        (ITERATIONS, {"by_epoch": False, "interval": 2, **BEST}, []),
        (ITERATIONS, {"by_epoch": False, "interval": 1, "save_begin": 4, "max_keep_ckpts": 3, **BEST}, STOP),
        (ITERATIONS, {"by_epoch": False, "interval": 3, "save_begin": 2, "save_last": False}, []),
        (ITERATIONS, {"by_epoch": True, "interval": 1, "published_keys": ["meta"]}, []),
    ],
)
def test_the_files_of_a_run(tmp_path, train_cfg, checkpoint, custom):
    theirs, ours = both(tmp_path, train_cfg, checkpoint, custom)
    assert theirs == ours


def test_files_that_are_listed_as_different(tmp_path):
    """MMEngine saves a regular file more beside a new best, and none where training is stopped early."""
    theirs, ours = both(tmp_path, EPOCHS, {"interval": 4, "save_best": "auto"}, STOP)
    assert set(theirs[1]) - set(ours[1]) == set()
    assert set(ours[1]) - set(theirs[1]) == {"epoch_5.pth"}
    theirs, ours = both(tmp_path / "best", EPOCHS, {"interval": 2, "save_best": "auto"}, [])
    assert set(theirs[1]) - set(ours[1]) == {"epoch_3.pth"}
    assert set(ours[1]) <= set(theirs[1])


def both(tmp_path, train_cfg, checkpoint, custom):
    found = []
    for label, run in (("theirs", their_run), ("ours", our_run)):
        given = {**checkpoint}
        if "out_dir" in given:
            given["out_dir"] = str(tmp_path / label / "out")
        n_iters = run(tmp_path / label / "run", dict(train_cfg), given, [dict(hook) for hook in custom])
        hint = (tmp_path / label / "run" / "last_checkpoint").is_file()
        paths = names(tmp_path / label)
        found.append((n_iters, paths, hint))
    return found


@pytest.mark.parametrize("settings", [{}, {"before_epoch": True}, {"after_iter": True}])
def test_empty_cache_takes_part_in_the_same_events(settings):
    ours, theirs = hooks.EmptyCacheHook(**settings), mmengine_hooks.EmptyCacheHook(**settings)
    assert set(ours.get_triggered_stages()) == set(theirs.get_triggered_stages())


@pytest.mark.parametrize("name", ["SyncBuffersHook", "PrepareTTAHook"])
def test_events_are_a_superset(name):
    given = {"tta_cfg": {}} if name == "PrepareTTAHook" else {}
    ours, theirs = (getattr(module, name)(**given) for module in (hooks, mmengine_hooks))
    assert set(theirs.get_triggered_stages()) <= set(ours.get_triggered_stages())


def test_early_stopping_on_a_mock_runner():
    class Runner(SimpleNamespace):
        is_training = True

    for module in (hooks, mmengine_hooks):
        hook = module.EarlyStoppingHook(monitor="acc", patience=1)
        loop = SimpleNamespace(stop_training=False)
        runner = Runner(train_loop=loop, logger=SimpleNamespace(info=lambda *args: None))
        hook.after_val_epoch(runner, {"acc": 0.5})
        assert not loop.stop_training
        hook.after_val_epoch(runner, {"acc": 0.5})
        assert loop.stop_training

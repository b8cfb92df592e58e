"""Whatever stands in a config, it is judged: no other exception comes out of the checks, and nothing is built."""

import copy
import random

import pytest

from trainwright.base.errors import TrainwrightError
from trainwright.config import Config
from trainwright.registry import DATASETS, MODELS
from trainwright.runner import Runner
from trainwright.runner.check import validate
from trainwright.testing.toys import ToyDataset, ToyModel, toy_config

JUNK = [
    *(None, 3, -1, 1.5, "x", "", True, float("nan"), b"x", int, print, range(3)),
    *([], {}, [{}], [None], ("a",), [["x"]], {1: 2}, {None: 1}),
    *({"type": "X"}, {"type": 3}, {"type": None}, {"type": "ToyModel"}, {"a": {"type": "SGD"}}),
]
KEYS = ["typo", "priority", "end", "by_epoch", "metrics", "constructor", "paramwise_cfg", "monitor", "prefix"]


def whole_config(tmp_path):
    return toy_config(
        tmp_path / "run",
        param_scheduler=[{"type": "CosineAnnealingLR", "T_max": 2}],
        default_hooks={"checkpoint": {"type": "CheckpointHook", "save_best": "accuracy/top1"}},
        custom_hooks=[{"type": "LoggerHook", "priority": 3}],
        visualizer={"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}]},
        env_cfg={"mp_cfg": {}},
        auto_scale_lr={"enable": True, "base_batch_size": 3},
        log_processor={},
        strategy={"type": "SingleDeviceStrategy"},
    )


def places(tree, keys=()):
    if keys:
        yield keys
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*keys, key))


def spoilt(cfg, draw):
    """`cfg` with one to three values replaced or added."""
    cfg = copy.deepcopy(cfg)
    for _ in range(draw.choice([1, 1, 2, 3])):
        *above, key = draw.choice(list(places(cfg)))
        part = cfg
        for name in above:
            part = part[name]
        adds = isinstance(part, dict) and draw.random() < 0.2
        part[draw.choice(KEYS) if adds else key] = copy.copy(draw.choice(JUNK))
    return cfg


@pytest.fixture
def unbuilt(monkeypatch):
    def refuse(self, *args, **kwargs):
        raise AssertionError("no instance is made")

    for registry, kind in ((MODELS, ToyModel), (DATASETS, ToyDataset)):
        # the parameters stay those of the real class
        made = type(kind.__name__, (kind,), {"__new__": refuse})
        monkeypatch.setitem(registry.module_dict, kind.__name__, made)


@pytest.mark.parametrize("seed", range(4))
def test_the_checks_raise_nothing(tmp_path, unbuilt, seed):
    draw, whole = random.Random(seed), whole_config(tmp_path)
    assert validate(Config(whole)) == []
    n_spoilt = 0
    for _ in range(60):
        cfg = Config(spoilt(whole, draw))
        problems = validate(cfg)
        errors = [str(problem).partition("\n")[0] for problem in problems if problem.level == "error"]
        n_spoilt += bool(errors)
        if errors:
            with pytest.raises(TrainwrightError) as caught:
                Runner.from_cfg(cfg)
            missing = [error for error in errors if error not in str(caught.value)]
            assert missing == [], str(caught.value)
    assert n_spoilt > 30
    assert not (tmp_path / "run").exists()

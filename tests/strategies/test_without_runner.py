"""A strategy used without a Runner: prepared, trained, saved, and resumed in another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.registry import STRATEGIES
from trainwright.strategies import BaseStrategy, SingleDeviceStrategy
from trainwright.testing.rank_runs import close, in_ranks
from trainwright.testing.toys import ToyDataset, ToyModel, differences

N_STEPS = 7
KINDS: dict[str, dict[str, Any]] = {
    "single": {"type": "SingleDeviceStrategy"},
    "ddp": {"type": "DDPStrategy"},
    "fsdp": {"type": "FSDPStrategy", "wrap": ["Linear"]},
}


def prepared(folder: Path, kind: dict[str, Any], seed: int | None) -> BaseStrategy:
    strategy: BaseStrategy = STRATEGIES.build(
        {
            **kind,
            "work_dir": str(folder),
            "env_kwargs": {"randomness": {"seed": seed, "diff_rank_seed": True}},
            "log_kwargs": {"log_level": "ERROR"},
            "auto_scale_lr": {"base_batch_size": 4, "enable": True},
        }
    )
    parts = strategy.prepare(
        {"type": "ToyModel", "dropout": 0.3},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.01}, "accumulative_counts": 3},
        param_scheduler={"type": "CosineAnnealingLR", "by_epoch": False},
        dispatch_kwargs={"max_iters": N_STEPS, "train_micro_batch_size_per_gpu": 4},
    )
    assert parts == strategy._prepared_components()
    return strategy


def steps(strategy: BaseStrategy, count: int) -> list[float]:
    """Batches are drawn from the random streams: they are part of what goes on."""
    data, losses = ToyDataset(24), []
    for _ in range(count):
        chosen = torch.randint(24, (4,))
        batch = {"inputs": data.points[chosen], "label": torch.tensor(data.labels)[chosen]}
        losses.append(strategy.train_step(batch)["loss"].item())
        for scheduler in strategy.param_schedulers:
            scheduler.step()
    return losses


def whole_run(folder: Path, kind: dict[str, Any], layout: str) -> Any:
    """Saved after four steps, inside a window of three."""
    strategy = prepared(folder, kind, 3)
    first = steps(strategy, 4)
    strategy.save_checkpoint(str(folder / "at_4"), extra_ckpt={"note": 1}, layout=layout)
    return first + steps(strategy, N_STEPS - 4), strategy.model_state_dict(), strategy.optim_wrapper.get_lr()


def rest_of_run(folder: Path, kind: dict[str, Any], seed: int | None) -> Any:
    strategy = prepared(folder, kind, seed)
    steps(strategy, 2)  # whoever resumes was elsewhere
    checkpoint = strategy.load_or_resume(load_from=str(folder / "at_4"), resume=True)
    assert checkpoint is not None
    assert (checkpoint["note"], strategy.seed) == (1, 3)
    return steps(strategy, N_STEPS - 4), strategy.model_state_dict(), strategy.optim_wrapper.get_lr()


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        *(("single", "file"), ("ddp", "file"), ("fsdp", "folder")),
        *(pytest.param(*case, marks=pytest.mark.conformance) for case in (("ddp", "folder"), ("fsdp", "file"))),
    ],
)
def test_it_goes_on_bit_for_bit_in_another_process(tmp_path: Path, name: str, layout: str) -> None:
    n_ranks = 1 if name == "single" else 2
    whole = in_ranks(n_ranks, whole_run, tmp_path, KINDS[name], layout)
    rest = in_ranks(n_ranks, rest_of_run, tmp_path, KINDS[name], None)
    for before, after in zip(whole, rest, strict=True):
        assert before[0][4:] == after[0]
        assert before[2] == after[2]
    assert differences(whole[0][1], rest[0][1]) == []
    meta = read_checkpoint(tmp_path / "at_4")["meta"]
    assert (meta["seed"], meta["world_size"]) == (3, n_ranks)


def test_another_seed_than_was_saved_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> list[str]:
        whole_run(tmp_path, KINDS["single"], "file")
        strategy = prepared(tmp_path, KINDS["single"], 9)
        said: list[str] = []
        strategy.logger.warning = lambda text, *values: said.append(text % values)  # type: ignore[method-assign]
        strategy.resume(str(tmp_path / "at_4"))
        return said

    assert in_ranks(1, work) == [["randomness has seed=9 and the checkpoint 3: that one is used"]]


def test_a_layout_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="layout must be 'file' or 'folder', but got 'zip'"):
        prepared(tmp_path, KINDS["single"], 3).save_checkpoint(str(tmp_path / "x"), layout="zip")


def test_what_the_machine_and_the_run_are(tmp_path: Path) -> None:
    strategy = SingleDeviceStrategy(
        work_dir=tmp_path, env_kwargs={"resource_limit": 1024, "randomness": {"seed": 4}}, experiment_name="x"
    )
    system, runtime = strategy.collect_env()
    assert {"sys.platform", "Python", "CUDA available", "GCC", "PyTorch", "PyTorch compiling details"} <= set(system)
    assert system["PyTorch"] == torch.__version__
    assert runtime["resource_limit"] == 1024
    assert runtime["seed"] == 4
    assert [runtime[f"Distributed {name}"] for name in ("launcher", "training")] == ["none", False]
    assert runtime["GPU number"] == 1


class Downstream(SingleDeviceStrategy):
    """Overrides what those of MMEngine override."""

    def __init__(self, **kwargs: Any) -> None:
        self.called: list[str] = []
        super().__init__(**kwargs)

    def _setup_env(self, *, launcher: Any = None, randomness: Any = None, **settings: Any) -> None:
        self.called.append("_setup_env")
        super()._setup_env(launcher=launcher, randomness=randomness, **settings)

    def _setup_distributed(self, launcher: str, backend: str = "gloo", **settings: Any) -> None:
        self.called.append(f"_setup_distributed {launcher} {backend} {settings}")
        dist.init_dist(launcher, backend, **settings)

    def _set_randomness(self, seed: Any = None, diff_rank_seed: bool = False, deterministic: bool = False) -> None:
        self.called.append(f"_set_randomness {seed}")
        super()._set_randomness(seed, diff_rank_seed, deterministic)

    def convert_model(self, model: nn.Module) -> nn.Module:
        self.called.append("convert_model")
        return super().convert_model(model)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        self.called.append("_wrap_model")
        return super()._wrap_model(model)

    def _init_model_weights(self, model: nn.Module) -> nn.Module:
        self.called.append("_init_model_weights")
        return super()._init_model_weights(model)

    def _scale_lr(self) -> None:
        self.called.append("_scale_lr")
        super()._scale_lr()

    def _build_param_scheduler(self, scheduler: Any, optim_wrapper: Any, default_args: Any) -> list[Any]:
        self.called.append("_build_param_scheduler")
        return super()._build_param_scheduler(scheduler, optim_wrapper, default_args)

    def _prepared_components(self) -> Any:
        self.called.append("_prepared_components")
        return super()._prepared_components()


def test_what_a_subclass_overrides_is_called(tmp_path: Path) -> None:
    def work() -> list[str]:
        strategy = Downstream(
            work_dir=tmp_path,
            env_kwargs={"launcher": "pytorch", "dist_cfg": {"timeout": 9}, "randomness": {"seed": 1}},
        )
        strategy.prepare(
            ToyModel(),
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
            param_scheduler={"type": "ConstantLR", "end": 3},
        )
        assert strategy.distributed
        return strategy.called

    assert in_ranks(1, work) == [
        [
            *("_setup_env", "_setup_distributed pytorch gloo {'timeout': 9}", "_set_randomness 1"),
            *("_wrap_model", "convert_model", "_init_model_weights"),
            *("_scale_lr", "_build_param_scheduler", "_prepared_components"),
        ]
    ]


def test_norms_that_talk_to_other_ranks_become_ordinary_ones(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.SyncBatchNorm(4))
    strategy = SingleDeviceStrategy(work_dir=tmp_path)
    placed = strategy.prepare(model)
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in placed.modules())
    assert placed(torch.randn(5, 3)).shape == (5, 4)
    assert close(list(placed.state_dict()), list(model.state_dict()), 0.0)

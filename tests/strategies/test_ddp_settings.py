"""What DDPStrategy takes: wrappers, hooks for what is sent, models in parts."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainwright import Runner
from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.model import BaseModel, MMDistributedDataParallel, MMSeparateDistributedDataParallel
from trainwright.model.twin import twin_of
from trainwright.optim import OptimWrapper, OptimWrapperDict
from trainwright.registry import MODEL_WRAPPERS, OPTIM_WRAPPER_CONSTRUCTORS
from trainwright.strategies import DDPStrategy
from trainwright.testing.rank_runs import close, in_ranks, logged, refused, train_toy
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import ToyModel, differences, toy_config, toy_loader

DDP: dict[str, Any] = {"type": "DDPStrategy"}
SEPARATE = {**DDP, "model_wrapper": {"type": "MMSeparateDistributedDataParallel"}}


# hooks ----------------------------------------------------------------------------------------------------------------


def halved(state: Any, bucket: torch.distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
    state.seen += 1
    work = torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
    return work.then(lambda future: future.value()[0] / torch.distributed.get_world_size())


class Counting:
    made: list[Any] = []

    def __init__(self, start: int = 0) -> None:
        self.seen = start
        self.made.append(self)


def with_hook(folder: Path, comm_hook: Any) -> tuple[list[float], Any]:
    changes = {"strategy": {**DDP, "comm_hook": comm_hook}} if torch.distributed.get_world_size() > 1 else {}
    runner = train_toy(folder, train_dataloader=toy_loader(16, 8 // torch.distributed.get_world_size()), **changes)
    return logged(runner), runner.strategy.model_state_dict()


@pytest.mark.parametrize(
    ("comm_hook", "tolerance"),
    [
        ("fp16", 2e-3),
        (
            {"type": "powersgd", "start_powerSGD_iter": 2, "matrix_approximation_rank": 4, "min_compression_rate": 0.5},
            0.1,
        ),
        ({"type": f"{__name__}.halved", "state": {"type": f"{__name__}.Counting", "start": 3}}, 1e-6),
    ],
    ids=["fp16", "powersgd", "own"],
)
def test_what_is_sent_is_a_setting(tmp_path: Path, comm_hook: Any, tolerance: float) -> None:
    (single,) = in_ranks(1, with_hook, tmp_path / "single", None)
    first, second = in_ranks(2, with_hook, tmp_path / "ranks", comm_hook)
    assert differences(first[1], second[1]) == []
    means = [(a + b) / 2 for a, b in zip(first[0], second[0], strict=True)]
    assert close(means, single[0], tolerance)


def frozen_with_hook(folder: Path) -> list[int]:
    train_toy(
        folder,
        train_dataloader=toy_loader(16, 4),
        custom_hooks=[{"type": "FreezeHook", "modules": "first", "begin": 1, "end": 3, "by_epoch": False}],
        strategy={**DDP, "comm_hook": {"type": f"{__name__}.halved", "state": Counting}},
    )
    return [state.seen for state in Counting.made if state.seen]


def test_a_wrapper_that_is_made_anew_has_the_hook_too(tmp_path: Path) -> None:
    assert in_ranks(2, frozen_with_hook, tmp_path) == [[1, 2, 1]] * 2


# refusals and arguments -----------------------------------------------------------------------------------------------


class OtherDDP(DDPStrategy):
    """As downstream ones are."""


class OwnPrepare(DDPStrategy):
    def prepare(self, model: Any, **kwargs: Any) -> Any:
        return super().prepare(model, **kwargs)


def refusals(folder: Path) -> dict[str, str]:
    def of(model: Any = None, **changes: Any) -> str:
        return refused(lambda: Runner.from_cfg(toy_config(folder, **changes, **({"model": model} if model else {}))))

    fsdp = {"type": "FSDPStrategy"}
    separate = SEPARATE["model_wrapper"]
    return {
        "bf16": of(strategy={**DDP, "comm_hook": "bf16"}),
        "name": of(strategy={**DDP, "comm_hook": "powersdg"}),
        "dotted": of(strategy={**DDP, "comm_hook": "torch.nothing_there"}),
        "options": of(strategy={**DDP, "comm_hook": {"type": "powersgd", "matrix_rank": 2}}),
        "values": of(strategy={**DDP, "comm_hook": {"type": "powersgd", "start_powerSGD_iter": 0}}),
        "no options": of(strategy={**DDP, "comm_hook": {"type": "fp16", "rank": 2}}),
        "no state": of(strategy={**DDP, "comm_hook": {"type": "powersgd", "state": dict}}),
        "needs none": of(strategy={**DDP, "comm_hook": {"type": "fp16", "state": dict}}),
        "kind": of(strategy={**DDP, "comm_hook": 3}),
        "twice": of(strategy={**DDP, "static_graph": True, "model_wrapper": {"static_graph": False}}),
        "wrapped": of(MMDistributedDataParallel(ToyModel()), strategy={**DDP, "static_graph": True}),
        "anomalous": of(strategy={**DDP, "model_wrapper": {**separate, "detect_anomalous_params": True}}),
        "list": of(Lists(), strategy=SEPARATE),
        "sync_bn": of(strategy=fsdp, sync_bn="torch"),
        "prepare": of(strategy={"type": OwnPrepare}),
    }


class Lists(ToyModel):
    def __init__(self) -> None:
        super().__init__()
        self.many = nn.ModuleList([nn.Linear(2, 2)])


def test_what_cannot_work_is_refused_when_the_runner_is_made(tmp_path: Path) -> None:
    first, second = run_ranks(2, refusals, tmp_path)
    assert first == second
    starts = {
        "bf16": "comm_hook='bf16' needs the backend NCCL, and this group has gloo",
        "name": "comm_hook 'powersdg' is none of fp16, bf16, powersgd, batched_powersgd, and no dotted name. Did you",
        "dotted": "comm_hook names 'torch.nothing_there', which cannot be imported",
        "options": "comm_hook 'powersgd': got an unexpected keyword argument 'matrix_rank'",
        "values": "comm_hook 'powersgd': Expect `start_powerSGD_iter` > 1",
        "no options": "comm_hook 'fp16' takes no settings, but got rank.",
        "no state": "comm_hook 'powersgd': got an unexpected keyword argument 'state'",
        "needs none": "comm_hook 'fp16' takes no settings, but got state.",
        "kind": "comm_hook must be a name, a function or a dict with a type, but got 3.",
        "twice": "DDPStrategy has static_graph=True, and its model_wrapper static_graph=False: say it once.",
        "wrapped": "the model is a MMDistributedDataParallel already, so static_graph=True would have no effect",
        "anomalous": "detect_anomalous_params looks at the loss of the wrapper's train_step",
        "list": "MMSeparateDistributedDataParallel wraps each child of Lists, and 'many' is a ModuleList",
        "sync_bn": "the config has sync_bn, and FSDPStrategy has no sync_bn: it would have no effect.",
        "prepare": "OwnPrepare overrides prepare(), which a Runner does not call",
    }
    for name, start in starts.items():
        assert start in first[name], (name, first[name])


class Unused(ToyModel):
    """With a parameter that the loss does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(2, 2)


def with_unused(folder: Path, caplog: pytest.LogCaptureFixture) -> tuple[list[float], list[str]]:
    runner = train_toy(
        folder,
        model=Unused(),
        train_dataloader=toy_loader(16, 4),
        strategy={"type": OtherDDP, "detect_anomalous_params": True},
        find_unused_parameters=True,
    )
    assert runner.model.find_unused_parameters  # type: ignore[attr-defined]
    text = (Path(runner.log_dir) / f"{runner.timestamp}.log").read_text()
    return logged(runner), [line for line in text.splitlines() if "no gradient" in line]


def test_unused_parameters_are_found_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    (losses, lines), other = in_ranks(2, with_unused, tmp_path, None)
    assert len(losses) == len(other[0]) == 4
    assert ["idle.weight" in line or "idle.bias" in line for line in lines] == [True] * 8


def with_a_given_wrapper(folder: Path) -> tuple[list[float], bool]:
    torch.manual_seed(0)
    model = MMDistributedDataParallel(ToyModel(), broadcast_buffers=False)
    runner = train_toy(folder, model=model, train_dataloader=toy_loader(16, 4), strategy=DDP)
    return runner.strategy.model_state_dict(), runner.model is model


def test_a_model_that_is_wrapped_already_is_taken_as_it_is(tmp_path: Path) -> None:
    first, second = in_ranks(2, with_a_given_wrapper, tmp_path)
    assert (first[1], second[1]) == (True, True)
    assert differences(first[0], second[0]) == []
    assert set(first[0]) == set(ToyModel().state_dict())


class Plain(nn.Module):
    """A wrapper of somebody's own, which knows nothing of ranks."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.model = module

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name) if name == "model" else getattr(self.model, name)


def with_a_plain_wrapper(folder: Path) -> tuple[str, bool, int]:
    MODEL_WRAPPERS.register_module(module=Plain)
    try:
        runner = train_toy(folder, strategy={**DDP, "model_wrapper": {"type": "Plain"}})
    finally:
        MODEL_WRAPPERS.module_dict.pop("Plain")
    return runner.model_name, type(runner.model) is Plain, runner.iter


def test_a_wrapper_of_ones_own_is_given_the_model_alone(tmp_path: Path) -> None:
    first, second = in_ranks(2, with_a_plain_wrapper, tmp_path)
    assert first[:2] == second[:2] == ("ToyModel", True)
    assert first[2] == second[2] > 0


# parts ----------------------------------------------------------------------------------------------------------------


class Gan(BaseModel):
    """A generator, a discriminator that is trained against it, and a part without anything to train."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1))
        self.shift = nn.Identity()

    def init_weights(self) -> None:
        torch.manual_seed(5)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)
        assert self.generator.in_features == 6  # of the part, through the wrapper

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        real = self.data_preprocessor(data, True)["inputs"]
        critic, generator = optim_wrapper["critic"], optim_wrapper["generator"]
        with critic.optim_context(self.critic):
            fake = self.generator(self.shift(real))
            loss_d = (self.critic(fake.detach()) - self.critic(real)).mean() + self.critic(real).square().mean()
        critic.update_params(loss_d)
        self.critic.requires_grad_(False)
        with generator.optim_context(self.generator):
            loss_g = -self.critic(self.generator(real)).mean()
        generator.update_params(loss_g)
        self.critic.requires_grad_(True)
        return {"loss_d": loss_d.detach(), "loss_g": loss_g.detach()}

    def forward(self, inputs: Any, label: Any = None, mode: str = "tensor") -> Any:
        return {"scores": self.generator(inputs)[:, :3], "label": label}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GanConstructor:
    def __init__(self, optim_wrapper_cfg: Any, paramwise_cfg: Any = None) -> None:
        self.counts = optim_wrapper_cfg["counts"]

    def __call__(self, model: Any) -> OptimWrapperDict:
        made = {
            name: OptimWrapper(torch.optim.SGD(part.parameters(), lr=0.1), accumulative_counts=self.counts)
            for name, part in (("generator", model.generator), ("critic", model.critic))
        }
        return OptimWrapperDict(**made)


def train_gan(folder: Path, batch_size: int, strategy: Any, counts: int = 1, **changes: Any) -> Any:
    return train_toy(
        folder,
        model=Gan(),
        train_dataloader=toy_loader(16, batch_size),
        optim_wrapper={"constructor": "GanConstructor", "counts": counts},
        custom_hooks=[{"type": "EMAHook"}],
        **({"strategy": strategy} if strategy else {}),
        **changes,
    )


def gan_run(folder: Path, batch_size: int, strategy: Any, counts: int = 1) -> dict[str, Any]:
    runner = train_gan(folder, batch_size, strategy, counts)
    found = {"state": runner.strategy.model_state_dict(), "d": logged(runner, "loss_d"), "g": logged(runner, "loss_g")}
    if strategy:
        model: Any = runner.model
        copied = twin_of(model.module)
        found["kinds"] = (
            type(model) is MMSeparateDistributedDataParallel,
            isinstance(model.module.generator, DistributedDataParallel),
            isinstance(model.module.shift, nn.Identity),
            type(copied.generator) is nn.Linear and type(copy.deepcopy(model.module).critic) is nn.Sequential,
            list(dict(model.module.named_parameters())) == list(runner.strategy.model_state_dict()),
            not model.train(False).module.generator.training and not model.module.critic.module[0].training,
        )
        with model.no_sync():
            found["no_sync"] = [part.require_backward_grad_sync for part in model.parts.values()]
    return found


@pytest.mark.parametrize("counts", [1, 2])
def test_parts_that_are_trained_in_turn(tmp_path: Path, counts: int) -> None:
    (single,) = in_ranks(1, gan_run, tmp_path / "single", 4, None, counts)
    first, second = in_ranks(2, gan_run, tmp_path / "ranks", 2, SEPARATE, counts)
    assert first["kinds"] == (True,) * 6
    assert first["no_sync"] == [False, False]
    assert differences(first["state"], second["state"]) == []
    assert close(dict(first["state"]), dict(single["state"]), 1e-6)
    for name in ("d", "g"):
        means = [(a + b) / 2 for a, b in zip(first[name], second[name], strict=True)]
        assert close(means, single[name], 1e-6)
    trees = [read_checkpoint(tmp_path / part / "epoch_2.pth") for part in ("single", "ranks")]
    assert close(*(dict(tree["state_dict"]) for tree in trees), 1e-6)
    assert list(trees[0]["ema_state_dict"]) == list(trees[1]["ema_state_dict"])


def partly_frozen(folder: Path) -> list[bool]:
    runner = train_gan(folder, 4, SEPARATE)
    model: Any = runner.model
    before = dict(model.parts)
    model.module.critic.module[0].requires_grad_(False)
    runner.strategy.trainable_changed()
    again = [model.parts[name] is before[name] for name in ("generator", "critic")]
    model.module.critic.requires_grad_(False)  # another one's turn
    runner.strategy.trainable_changed()
    return [*again, model.module.critic is model.parts["critic"]]


def test_a_part_of_which_less_is_trained_is_wrapped_anew(tmp_path: Path) -> None:
    assert in_ranks(2, partly_frozen, tmp_path) == [[True, False, True]] * 2


# the rest of the config -----------------------------------------------------------------------------------------------

FORMS = {
    "compile": {"compile": {"backend": "eager"}},
    "checkpointing": {"activation_checkpointing": ["first"]},
    "scaled": {"auto_scale_lr": {"base_batch_size": 16, "enable": True}},
    "static": {},
}


def run_forms(folder: Path, batch_size: int, strategy: Any) -> dict[str, Any]:
    found = {}
    for name, changes in FORMS.items():
        given = (
            {**strategy, "static_graph": True} if name == "static" and strategy["type"] == "DDPStrategy" else strategy
        )
        runner = train_toy(
            folder / name,
            train_dataloader=toy_loader(16, batch_size),
            **({"strategy": given} if torch.distributed.get_world_size() > 1 else {}),
            **changes,
        )
        found[name] = (logged(runner), runner.optim_wrapper.get_lr()["lr"])
    return found


@pytest.mark.conformance
@pytest.mark.parametrize("strategy", ["DDPStrategy", "FSDPStrategy"])
def test_compile_checkpointing_and_scaled_rates_are_as_in_one_process(tmp_path: Path, strategy: str) -> None:
    (single,) = in_ranks(1, run_forms, tmp_path / "single", 8, {"type": strategy})
    first, second = in_ranks(2, run_forms, tmp_path / "ranks", 4, {"type": strategy})
    for name in FORMS:
        means = [(a + b) / 2 for a, b in zip(first[name][0], second[name][0], strict=True)]
        assert close(means, single[name][0], 1e-6), name
        assert first[name][1] == pytest.approx(single[name][1]), name
    assert first["scaled"][1] == pytest.approx([rate / 2 for rate in first["static"][1]])

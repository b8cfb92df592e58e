"""A dry run says what a real one has: bytes of parameters, gradients, states and messages."""

from __future__ import annotations

import json
import math
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.fsdp
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.cli.dry_run import run_dry
from trainwright.config import Config
from trainwright.dist.pending import recorded
from trainwright.engine import Hook
from trainwright.runner.dry_run import DryRun, dry_run
from trainwright.testing.rank_runs import train_toy
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import ToyModel, toy_config, toy_loader

ADAM = {"optimizer": {"type": "AdamW", "lr": 0.1}, "clip_grad": {"max_norm": 1.0}}
WRAPPED = {"type": "FSDPStrategy", "wrap": ["Linear"]}
PLAN = {"first": "colwise", "second": "rowwise"}


class Wide(ToyModel):
    """With a layer more, of which no side divides evenly."""

    def __init__(self, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.first = nn.Sequential(nn.Linear(6, 37), nn.ReLU(), nn.Linear(37, 8))


def config(folder: Path, **changes: Any) -> Config:
    common = {"model": {"type": Wide}, "optim_wrapper": ADAM, "train_dataloader": toy_loader(256, 4)}
    return Config(toy_config(folder, **{**common, **changes}))


def bytes_of(tensors: Any) -> int:
    return sum(dist.local(tensor).nbytes for tensor in tensors)


class Measure(Hook):
    """What the third step of a real run has, by torch's flight recorder."""

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == 2:
            self.before = len(entries())
            runner.optim_wrapper.optimizer.register_step_pre_hook(self.at_step)

    def at_step(self, optimizer: Any, *_: Any) -> None:
        self.gradients = bytes_of(p.grad for group in optimizer.param_groups for p in group["params"])

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter == 2:
            model, optimizer = runner.strategy.model, runner.optim_wrapper.optimizer
            states = [value for state in optimizer.state.values() for value in state.values()]
            self.found = (bytes_of(model.parameters()), self.gradients, bytes_of(states))
            self.messages: Counter[str] = Counter()
            for entry in entries()[self.before :]:
                kind = entry["profiling_name"].removeprefix("gloo:").replace("_", "-")
                size = {"Float": 4, "Double": 8}[entry["input_dtypes"][0]]
                sides = [sum(map(math.prod, entry[side])) * size for side in ("input_sizes", "output_sizes")]
                self.messages[kind] += max(sides)
                self.messages[f"{kind} calls"] += 1


def entries() -> list[Any]:
    return list(json.loads(recorded().text.splitlines()[-1]).get("entries", []))


def measure(folder: Path, strategy: dict[str, Any]) -> Any:
    hook = Measure()
    train_toy(
        folder, model={"type": Wide}, optim_wrapper=ADAM, train_dataloader=toy_loader(16, 2), strategy=strategy,
        custom_hooks=[hook], train_cfg={"by_epoch": False, "max_iters": 3}, val_cfg=None, val_dataloader=None,
        val_evaluator=None,
    )  # fmt: skip
    return *hook.found, dict(hook.messages)


def messages_of(found: DryRun) -> dict[str, int]:
    messages: Counter[str] = Counter()
    for entry in found.traffic or ():
        messages[entry["kind"]] += entry["n_bytes"]
        messages[f"{entry['kind']} calls"] += entry["n_calls"]
    return dict(messages)


@pytest.mark.parametrize(
    "strategy", [{"type": "DDPStrategy"}, {"type": "FSDPStrategy"}, WRAPPED], ids=["ddp", "fsdp", "wrapped"]
)
def test_two_real_ranks_have_what_the_dry_run_says(tmp_path: Path, strategy: dict[str, Any]) -> None:
    real = run_ranks(2, measure, tmp_path, strategy)[0]
    found = dry_run(config(tmp_path, strategy=strategy), 2)
    # gloo has no reduce-scatter of its own: it reduces the whole, and each rank keeps its part.
    said = {key.replace("reduce-scatter", "all-reduce"): 0 for key in messages_of(found)}
    for key, value in messages_of(found).items():
        said[key.replace("reduce-scatter", "all-reduce")] += value
    assert (found.parameters, found.gradients, found.optimizer, said) == real
    assert found.problem == ""
    assert found.batch == "float32[4, 6], int64[4]"


def test_one_process_sends_nothing_and_its_activations_are_counted(tmp_path: Path) -> None:
    found = dry_run(config(tmp_path / "never"))
    sides = [(6, 37), (37, 8), (8, 3)]
    n_params = sum(a * b + b for a, b in sides)
    assert (found.strategy, found.n_params, found.n_trainable) == ("SingleDeviceStrategy", n_params, n_params)
    assert (found.parameters, found.gradients, found.buffers) == (4 * n_params, 4 * n_params, 0)
    assert found.optimizer == 4 * (2 * n_params + 6)
    assert (found.checkpoint_weights, found.checkpoint_all) == (4 * n_params, 4 * (3 * n_params + 6))
    assert found.traffic == []
    # Kept for the backward: two ReLU outputs, the log-probabilities and the weight of the mean, and the loss.
    kept = 4 * 4 * (37 + 8 + 3)
    assert found.activations is not None
    assert kept <= found.activations <= kept + 256
    assert found.peak is not None
    assert found.peak >= 4 * n_params * 4
    assert not (tmp_path / "never").exists()
    assert not dist.is_distributed()


def test_sixty_four_ranks_follow_the_formulas_of_fsdp(tmp_path: Path) -> None:
    n_ranks = 64
    found = dry_run(config(tmp_path, train_dataloader=toy_loader(256, 4)), n_ranks, "fsdp")
    shapes = [(37, 6), (37,), (8, 37), (8,), (3, 8), (3,)]
    rows = [math.ceil(shape[0] / n_ranks) for shape in shapes]  # of rank 0, whose part is never the smaller one
    own = sum(n * math.prod(shape[1:]) for n, shape in zip(rows, shapes, strict=True))
    assert (found.parameters, found.gradients) == (4 * own, 4 * own)
    assert found.optimizer == 4 * (2 * own + len(shapes))
    messages = messages_of(found)
    assert messages["all-gather"] == messages["reduce-scatter"] == 4 * own * n_ranks  # with the padding
    assert (messages["all-gather calls"], messages["reduce-scatter calls"]) == (1, 1)
    assert {entry["group_size"] for entry in found.traffic or ()} == {n_ranks}
    gather = next(entry for entry in found.traffic or () if entry["kind"] == "all-gather")
    assert gather["n_sent_bytes"] == 4 * own * (n_ranks - 1)


def test_copies_and_tensor_groups_have_groups_of_their_own(tmp_path: Path) -> None:
    hybrid = dry_run(config(tmp_path, strategy={"type": "FSDPStrategy", "replicate": 2}), 8, "hsdp")
    groups = {(entry["kind"], entry["group_size"]) for entry in hybrid.traffic or ()}
    assert {("all-gather", 4), ("reduce-scatter", 4), ("all-reduce", 2)} <= groups
    toy = {"model": {"type": "ToyModel"}}
    both = {"type": "FSDPStrategy", "tensor_parallel": {"size": 2, "plan": PLAN}, "init_on": "meta"}
    for strategy, n_ranks, n_own in ((both, 4, 24), ({"type": "TensorParallelStrategy", "plan": PLAN}, 2, 43)):
        found = dry_run(config(tmp_path, strategy=strategy, **toy), n_ranks)
        assert found.problem == ""
        assert found.parameters == 4 * n_own
        assert ("all-reduce", 2) in {(entry["kind"], entry["group_size"]) for entry in found.traffic or ()}


def test_the_wrapper_of_a_config_chooses_the_strategy_as_in_a_run(tmp_path: Path) -> None:
    sharded = config(tmp_path, model_wrapper_cfg={"type": "MMFullyShardedDataParallel"})
    assert dry_run(sharded, 2).strategy == "FSDPStrategy"
    assert dry_run(sharded, 1).strategy == "SingleDeviceStrategy"
    small = {"type": "MMDistributedDataParallel", "bucket_cap_mb": 0.0005}
    calls = [
        messages_of(dry_run(config(tmp_path, **changes), 2, name))["all-reduce calls"]
        for changes in ({"model_wrapper_cfg": small}, {})
        for name in (None, "ddp")
    ]
    assert calls[0] == calls[1] > calls[2] == calls[3] == 1


def test_a_window_of_accumulation_and_mixed_precision_are_one_step(tmp_path: Path) -> None:
    wrapper = {"type": "AmpOptimWrapper", "dtype": "bfloat16", "accumulative_counts": 3, **ADAM}
    found = dry_run(config(tmp_path, optim_wrapper=wrapper), 2, "fsdp")
    messages = messages_of(found)
    assert (found.problem, messages["reduce-scatter calls"]) == ("", 1)
    assert messages["all-gather calls"] >= 1


class Asking(ToyModel):
    """Asks for a number in the middle of its forward."""

    def forward(self, inputs: Any, label: Any = None, mode: str = "tensor") -> Any:
        """Scores."""
        if float(inputs.sum()) > 1e9:
            raise ArithmeticError
        return super().forward(inputs, label, mode)


def test_a_model_that_needs_numbers_is_reported_as_far_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = dry_run(config(tmp_path, model={"type": Asking}), 2, "fsdp")
    plain = dry_run(config(tmp_path, model={"type": "ToyModel"}), 2, "fsdp")
    assert found.problem.startswith("the step needs the numbers in a tensor, which a dry run does not have at ")
    assert "test_dry_run.py:" in found.problem
    assert "(if float(inputs.sum()) > 1e9:)" in found.problem
    assert "Activations and messages are not known; the rest is" in found.problem
    assert (found.activations, found.peak, found.traffic) == (None, None, None)
    same = ("parameters", "gradients", "optimizer", "checkpoint_weights", "checkpoint_all")
    assert [getattr(found, name) for name in same] == [getattr(plain, name) for name in same]
    assert capsys.readouterr().out == ""


class Downloading(ToyModel):
    """Gets its weights from somewhere."""

    def __init__(self, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        with socket.socket() as connection:
            connection.connect(("192.0.2.1", 80))


def test_nothing_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a dry run makes no connection"):
        dry_run(config(tmp_path, model={"type": Downloading}))
    assert socket.socket.connect.__name__ == "connect"


@pytest.mark.parametrize(
    ("arguments", "changes", "text"),
    [
        ({"world_size": 0}, {}, "world size must be a whole number of at least 1, but got 0."),
        ({"strategy": "fdsp"}, {}, "there is no strategy 'fdsp'; there are single, ddp, fsdp, hsdp, tp, "),
        (
            {"world_size": 2, "strategy": "single"},
            {},
            "SingleDeviceStrategy is for one process, and --world-size says 2",
        ),
        ({"world_size": 8, "strategy": "hsdp"}, {}, "hsdp needs to know how many copies there are: --cfg-options "),
        ({}, {"optim_wrapper": None}, "a dry run runs one training step, and the config has no optim_wrapper."),
        ({"inputs": {"inputs": "3y4"}}, {}, "input shape inputs='3y4' is not understood: write inputs=3x224x224, or "),
    ],
)
def test_what_cannot_be_tried_is_refused(
    tmp_path: Path, arguments: dict[str, Any], changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        dry_run(config(tmp_path, **changes), **arguments)
    assert str(caught.value).startswith(text)


def inside_a_group(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        dry_run(config(folder), 2)
    return str(caught.value)


def test_a_rank_of_a_real_group_is_refused(tmp_path: Path) -> None:
    assert "makes a process group of its own" in run_ranks(1, inside_a_group, tmp_path)[0]


def test_the_command_writes_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "toy.py"
    path.write_text(
        "model = dict(type='ToyModel')\ntrain_dataloader = dict(batch_size=5)\n"
        f"optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))\nwork_dir = {str(tmp_path / 'never')!r}\n"
        "custom_hooks = [dict(type='EMAHook')]\n"
    )
    shapes = ["inputs=6", "label=:int64"]
    before = torch.random.get_rng_state()
    assert run_dry(str(path), 4, "ddp", shapes, True, []) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["batch"], found["n_params"], found["gradients"]) == ("float32[5, 6], int64[5]", 83, 332)
    assert found["traffic"] == [
        {"kind": "all-reduce", "group_size": 4, "n_calls": 1, "n_bytes": 332, "n_sent_bytes": 498}
    ]
    assert run_dry(str(path), 4, "ddp", shapes, False, []) == 0
    said = capsys.readouterr().out
    assert "DDPStrategy on 4 rank(s), a batch of float32[5, 6], int64[5] on each\n83 parameters" in said
    assert "Checkpoint: 332 B of weights, 332 B with the state of the optimizer" in said
    assert "Note: hooks are not run: EMAHook keeps one more copy" in said
    assert run_dry(str(path), 1, None, shapes, False, []) == 0
    assert "Nothing is sent between ranks." in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--input-shape 'inputs' is not understood"):
        run_dry(str(path), 1, None, ["inputs"], False, [])
    assert torch.equal(before, torch.random.get_rng_state())
    assert not (tmp_path / "never").exists()


def test_a_rank_that_was_tried_before_is_the_rank_that_it_is(tmp_path: Path) -> None:
    strategy = {"type": "FSDPStrategy"}
    dry_run(Config(toy_config(tmp_path / "tried", strategy=strategy)), 2)  # as rank 0, also for what is rank 1 below
    changes = {"strategy": strategy, "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}}}
    plain = run_ranks(2, _last_weights, tmp_path / "real", changes)
    assert all(torch.equal(plain[0][name], plain[1][name]) for name in plain[0])


def _last_weights(folder: Path, changes: dict[str, Any]) -> dict[str, torch.Tensor]:
    runner = train_toy(folder, **changes)
    return dict(read_checkpoint(folder / f"epoch_{runner.max_epochs}")["state_dict"])

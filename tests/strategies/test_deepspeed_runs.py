"""Whole runs in DeepSpeed's engine: as one process would, exact when resumed, and read by every other strategy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from trainwright.base.errors import ConfigError
from trainwright.checkpoint.kinds import kind_of, read_checkpoint
from trainwright.strategies.deepspeed import imported_deepspeed
from trainwright.testing.rank_runs import (
    ADAM,
    CASES,
    EVERY_2,
    close,
    in_ranks,
    logged,
    resume_differences,
    run_cases,
    saved_at,
    train_toy,
)
from trainwright.testing.toys import toy_loader

pytestmark = [
    pytest.mark.deepspeed,
    pytest.mark.filterwarnings("ignore"),  # of the package, about torch
]
STAGES = (0, 1, 2, 3)
BF16 = {"enabled": True}


@pytest.fixture(autouse=True, scope="module")
def the_package() -> None:
    pytest.importorskip("deepspeed")
    imported_deepspeed()  # once, and not in each forked rank


def zero(stage: int, **settings: Any) -> dict[str, Any]:
    return {"type": "DeepSpeedStrategy", "zero_optimization": {"stage": stage}, **settings}


def cases_of(stage: int) -> dict[str, dict[str, Any]]:
    """Those that the stage has: what it has not is refused, see below."""
    cases = {name: changes for name, changes in CASES.items() if name != "amp"}
    if stage > 0:
        del cases["clip_value"]
        cases["norms"] = {"custom_hooks": [{"type": "GradNormHook"}]}
    if stage == 3:
        del cases["ema"]
    return cases


def run_some(folder: Path, batch_size: int, strategy: Any, cases: dict[str, Any]) -> Any:
    CASES.clear()
    CASES.update(cases)  # of this process alone
    return run_cases(folder, batch_size, strategy)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return in_ranks(1, run_some, tmp_path_factory.mktemp("single"), 8, None, cases_of(0))[0]


@pytest.fixture(scope="module", params=STAGES)
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    stage = request.param
    return stage, in_ranks(2, run_some, tmp_path_factory.mktemp("ranks"), 4, zero(stage), cases_of(stage))


def test_two_ranks_do_what_one_process_does_with_the_whole_batch(single: Any, results: Any) -> None:
    stage, (one, two) = results
    for case in cases_of(stage):
        first, second, whole = one[case], two[case], single[case]
        means = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
        assert close(means, whole["losses"], 1e-6), case
        assert close(first["norms"], {name: whole["norms"][name] for name in first["norms"]}, 1e-6), case
        assert first["norms"] == second["norms"], case
        assert close(first["tree"], whole["tree"], 1e-5), case
        assert first["accuracy"] == second["accuracy"] == whole["accuracy"], case


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
def test_a_resumed_run_ends_bit_for_bit_as_the_whole_one(tmp_path: Path, stage: int, half: bool) -> None:
    if half and stage == 0:
        with pytest.raises(ConfigError, match="bf16 needs zero_optimization"):
            resumed(tmp_path, stage, half)
        return
    assert in_ranks(2, resumed, tmp_path, stage, half) == [[], []]


def resumed(folder: Path, stage: int, half: bool) -> list[str]:
    from trainwright.registry import STRATEGIES

    strategy = zero(stage, **({"bf16": BF16} if half else {}))
    if half and stage == 0:
        STRATEGIES.build(strategy)
    hooks = {"custom_hooks": []} if half or stage == 3 else {}
    return resume_differences(folder, strategy=strategy, **hooks)


def part_of_a_run(folder: Path, strategy: dict[str, Any] | None, load_from: str | None, **changes: Any) -> list[float]:
    runner = train_toy(
        folder,
        train_dataloader=toy_loader(16, 8 // torch.distributed.get_world_size()),
        train_cfg={"by_epoch": True, "max_epochs": 3},
        default_hooks=EVERY_2,
        strategy=strategy,
        load_from=load_from,
        resume=load_from is not None,
        **{"optim_wrapper": {"optimizer": ADAM}, **changes},
    )
    return logged(runner)


@pytest.mark.parametrize("stage", STAGES)
def test_a_checkpoint_is_taken_up_by_any_strategy_and_number_of_ranks(tmp_path: Path, stage: int) -> None:
    in_ranks(2, part_of_a_run, tmp_path / "zero", zero(stage), None)
    saved = os.fspath(tmp_path / "zero" / "iter_2.pth")
    whole = read_checkpoint(tmp_path / "zero" / "iter_6.pth")
    others = (
        ("one", 1, None),
        ("ddp", 2, {"type": "DDPStrategy"}),
        ("fsdp", 2, {"type": "FSDPStrategy"}),
        ("other", 2, zero((stage + 2) % 4)),
        ("alone", 1, zero(stage)),
    )
    for name, n_ranks, strategy in others:
        in_ranks(n_ranks, part_of_a_run, tmp_path / name, strategy, saved)
        rest = read_checkpoint(saved_at(tmp_path / name, "iter_6"))
        for part in ("state_dict", "optimizer"):
            assert close(rest[part], whole[part], 1e-5), (name, part)
    for name in ("one", "fsdp"):
        in_ranks(
            2, part_of_a_run, tmp_path / f"back_{name}", zero(stage), os.fspath(saved_at(tmp_path / name, "iter_4"))
        )
        assert close(read_checkpoint(tmp_path / f"back_{name}" / "iter_6.pth")["optimizer"], whole["optimizer"], 1e-5)


@pytest.mark.parametrize("stage", [2, 3])
def test_parts_of_three_ranks_which_are_padded_make_up_the_whole(tmp_path: Path, stage: int) -> None:
    assert in_ranks(3, three, tmp_path, stage) == [[], [], []]


def three(folder: Path, stage: int) -> list[str]:
    return resume_differences(folder, strategy=zero(stage), custom_hooks=[])


@pytest.mark.parametrize("stage", STAGES)
def test_frozen_parameters_stay_and_are_in_the_checkpoint(tmp_path: Path, stage: int) -> None:
    results = [
        in_ranks(2, frozen, tmp_path / name, strategy) for name, strategy in (("ddp", None), ("zero", zero(stage)))
    ]
    (ddp, *_), (ours, *_) = results
    assert close(ours["losses"], ddp["losses"], 1e-6)
    assert close(ours["weights"], ddp["weights"], 1e-6)
    assert torch.equal(ours["weights"]["first.weight"], ours["begin"])


def frozen(folder: Path, strategy: Any) -> dict[str, Any]:
    hooks = [{"type": "FreezeHook", "modules": "first"}]
    runner = train_toy(folder, custom_hooks=hooks, default_hooks=EVERY_2, strategy=strategy or {"type": "DDPStrategy"})
    begin = read_checkpoint(folder / "iter_2.pth")["state_dict"]["first.weight"]
    return {"losses": logged(runner), "weights": read_checkpoint(folder / "iter_4.pth")["state_dict"], "begin": begin}


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_batch_in_a_window_of_the_engine_cannot_be_skipped(tmp_path: Path, stage: int) -> None:
    with pytest.raises(
        AssertionError, match="policy='skip' goes back in time, and with .*inside an accumulation window"
    ):
        in_ranks(2, skipping, tmp_path, zero(stage), 2)


@pytest.mark.parametrize("stage", [1, 3])
def test_a_nan_in_a_window_of_the_engine_ends_training_by_its_name(tmp_path: Path, stage: int) -> None:
    text = "loss is nan.*did not go back to before it, because with accumulative_counts=2"
    with pytest.raises(AssertionError, match=text):
        in_ranks(2, skipping, tmp_path, zero(stage), 2, {"policy": "stop", "interval": 1})


@pytest.mark.parametrize(("stage", "counts"), [(0, 1), (0, 2), (1, 1), (2, 1), (3, 1)])
def test_a_batch_that_is_skipped_leaves_nothing_behind(tmp_path: Path, stage: int, counts: int) -> None:
    ddp = in_ranks(2, skipping, tmp_path / "ddp", {"type": "DDPStrategy"}, counts)[0]
    ours = in_ranks(2, skipping, tmp_path / "zero", zero(stage), counts)[0]
    assert close(ours, ddp, 1e-6)


def skipping(folder: Path, strategy: dict[str, Any], counts: int, guard: dict[str, Any] | None = None) -> Any:
    train_toy(
        folder,
        strategy=strategy,
        train_dataloader=toy_loader(32, 4, nan_at=5),
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": counts},
        custom_hooks=[{"type": "LossGuardHook", **(guard or {"policy": "skip"})}],
        default_hooks=EVERY_2,
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
    )
    return read_checkpoint(folder / "iter_8.pth")["state_dict"]


@pytest.mark.parametrize(("stage", "half"), [(0, False), (1, False), (1, True), (2, True), (3, False), (3, True)])
def test_the_engines_own_checkpoint_is_read_without_running_its_code(tmp_path: Path, stage: int, half: bool) -> None:
    in_ranks(2, saving, tmp_path, stage, half)
    own = read_checkpoint(tmp_path / "run" / "epoch_2.pth")["state_dict"]
    tree = read_checkpoint(tmp_path / "engine")
    assert kind_of(tmp_path / "engine", tree) == "DeepSpeed folder"
    assert list(tree["state_dict"]) == list(own)
    assert all(torch.equal(tree["state_dict"][name], value) for name, value in own.items())
    assert read_checkpoint(tmp_path / "engine" / "last")["state_dict"].keys() == own.keys()
    # And is what another run may begin with.
    assert in_ranks(1, beginning, tmp_path / "next", os.fspath(tmp_path / "engine")) == [True]


def saving(folder: Path, stage: int, half: bool) -> None:
    strategy = zero(stage, **({"bf16": BF16} if half else {}))
    runner = train_toy(folder / "run", strategy=strategy, default_hooks={"checkpoint": {"type": "CheckpointHook"}})
    runner.strategy.save_engine(folder / "engine", tag="last")  # type: ignore[attr-defined]


def beginning(folder: Path, path: str) -> bool:
    runner = train_toy(folder, load_from=path, optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.0}})
    weights = read_checkpoint(path)["state_dict"]
    return all(torch.equal(value, weights[name]) for name, value in runner.strategy.model_state_dict().items())


@pytest.mark.parametrize(
    ("settings", "changes", "text"),
    [
        ((3, {}), {"custom_hooks": [{"type": "EMAHook"}]}, "EMAHook does not work.*no rank has whole weights"),
        ((1, {"bf16": BF16}), {"custom_hooks": [{"type": "EMAHook"}]}, "EMAHook does not work.*stand still"),
        ((3, {}), {"custom_hooks": [{"type": "DesyncCheckHook"}]}, "DesyncCheckHook does not work"),
        ((1, {}), {"custom_hooks": [{"type": "FreezeHook", "modules": "first", "end": 1}]}, "FreezeHook does not work"),
        ((1, {}), {"custom_hooks": [{"type": "GradNormHook", "weights": True}]}, "GradNormHook does not work"),
        ((2, {}), {"optim_wrapper": {"type": "AmpOptimWrapper", "optimizer": ADAM}}, "needs one DeepSpeedOptimWrapper"),
        ((2, {}), {"optim_wrapper": {"optimizer": {"type": "Adagrad"}}}, "cannot have the optimizer Adagrad"),
        (
            (2, {}),
            {"optim_wrapper": {"optimizer": ADAM, "clip_grad": {"type": "value", "clip_value": 1.0}}},
            "DeepSpeed clips, by the 2-norm",
        ),
        (
            (2, {"gradient_clipping": 1.0}),
            {"optim_wrapper": {"optimizer": ADAM, "clip_grad": {"max_norm": 2.0}}},
            "gradient_clipping say different things",
        ),
        ((3, {}), {"compile": True}, "compile does not work at ZeRO stage 3"),
        ((2, {"train_micro_batch_size_per_gpu": 3}), {}, "is not the batch_size=4"),
    ],
)
def test_what_the_engine_cannot_do_is_refused_before_training(
    tmp_path: Path, settings: Any, changes: dict[str, Any], text: str
) -> None:
    stage, more = settings
    with pytest.raises(AssertionError, match=text):
        in_ranks(2, refused, tmp_path, zero(stage, **more), changes)


def refused(folder: Path, strategy: dict[str, Any], changes: dict[str, Any]) -> None:
    train_toy(folder, strategy=strategy, **changes)


def test_the_settings_of_the_strategy_are_those_of_the_wrapper(tmp_path: Path) -> None:
    given = zero(2, gradient_clipping=0.2, gradient_accumulation_steps=2)
    wrapper = {"optimizer": ADAM, "clip_grad": {"max_norm": 0.2}, "accumulative_counts": 2}
    one = in_ranks(2, part_of_a_run, tmp_path / "strategy", given, None)
    assert in_ranks(2, with_wrapper, tmp_path / "wrapper", wrapper) == one


def with_wrapper(folder: Path, wrapper: dict[str, Any]) -> list[float]:
    return part_of_a_run(folder, zero(2), None, optim_wrapper=wrapper)


@pytest.mark.parametrize("stage", [2])
def test_offload_to_the_host_is_the_same_training(tmp_path: Path, stage: int) -> None:
    section = {"stage": stage, "offload_optimizer": {"device": "cpu"}}
    plain = in_ranks(2, part_of_a_run, tmp_path / "plain", zero(stage), None)
    offloaded = in_ranks(2, part_of_a_run, tmp_path / "cpu", {**zero(stage), "zero_optimization": section}, None)
    assert close(offloaded, plain, 1e-6)
    trees = [read_checkpoint(tmp_path / name / "iter_6.pth")["optimizer"] for name in ("plain", "cpu")]
    assert close(*trees, 1e-5)

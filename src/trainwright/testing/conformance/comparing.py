"""What runs leave, and how it is compared; every difference is an AssertionError that says where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from trainwright.checkpoint import CheckpointManager
from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.runner import Runner
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.task import Task

_SAVED = ("state_dict", "optimizer", "ema_state_dict")
EXACT, ROUNDED = 0.0, 1e-6


def expect(holds: object, text: str) -> None:
    """Fail with `text` unless it holds."""
    if not holds:
        raise AssertionError(text)


def expect_close(found: Any, wanted: Any, what: str, tolerance: float = EXACT) -> None:
    """Fail where two trees of tensors and plain data differ by more than `tolerance`; names up to five places."""
    places = list(_apart(found, wanted, what, tolerance))
    if places:
        more = f"\n... and {len(places) - 5} more" if len(places) > 5 else ""
        raise AssertionError("\n".join(places[:5]) + more)


def expect_alike(found: Sequence[Any], what: str) -> Any:
    """Fail unless all ranks found the same, bit for bit; what it is."""
    for rank, value in enumerate(found):
        expect_close(value, found[0], f"{what} of rank {rank} and of rank 0")
    return found[0]


def _apart(one: Any, other: Any, where: str, tolerance: float) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        if list(one) != list(other):
            yield f"{where}: keys {sorted(map(str, one))}, wanted {sorted(map(str, other))}"
        for key in [key for key in one if key in other]:
            yield from _apart(one[key], other[key], f"{where}.{key}", tolerance)
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            yield f"{where}: {len(one)} values, wanted {len(other)}"
        for n, pair in enumerate(zip(one, other, strict=False)):
            yield from _apart(*pair, f"{where}[{n}]", tolerance)
    else:
        yield from _leaves_apart(one, other, where, tolerance)


def _leaves_apart(one: Any, other: Any, where: str, tolerance: float) -> Iterator[str]:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.shape != other.shape:
            yield f"{where}: shape {tuple(one.shape)}, wanted {tuple(other.shape)}"
        elif one.numel():
            yield from _apart_numbers(_largest(one, other), where, tolerance)
    elif isinstance(one, float) and isinstance(other, float):
        yield from _apart_numbers(0.0 if one != one and other != other else abs(one - other), where, tolerance)
    elif one != other:
        yield f"{where}: {one!r}, wanted {other!r}"


def _largest(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.double() - other.double()).abs().max())


def _apart_numbers(difference: float, where: str, tolerance: float) -> Iterator[str]:
    if not difference <= tolerance:
        yield f"{where}: differs by {difference:.3g}, allowed is {tolerance:g}"


def saved(runner: Runner, name: str | None = None) -> dict[str, Any]:
    """Weights, optimizer and averaged weights of the newest checkpoint, or that of a name; of rank 0 only, else {}. All
    ranks call this. Without the form of the optimizer's step, which a run chooses for itself. A run that came through
    another door has a `read` for its own layout."""
    read = getattr(runner, "read", read_checkpoint)
    tree = read(newest(runner.work_dir) if name is None else checkpoint(Path(runner.work_dir), name))
    for group in tree.get("optimizer", {}).get("param_groups", ()):
        group.pop("foreach", None)
        group.pop("fused", None)
    return {} if runner.rank else {key: tree[key] for key in _SAVED if key in tree}


def newest(folder: str | Path) -> str:
    """The newest checkpoint of a work_dir, in either layout."""
    path = CheckpointManager(str(folder)).latest()
    expect(path is not None, f"there is no checkpoint in {folder}")
    return str(path)


def checkpoint(folder: Path, name: str) -> str:
    """The checkpoint of that name in either layout: a file, or else a step folder."""
    file = folder / f"{name}.pth"
    return str(file if file.is_file() else folder / name)


def histories(runner: Runner, *parts: str) -> dict[str, list[float]]:
    """Every value of the logged numbers whose name has one of these parts."""
    scalars = runner.message_hub.log_scalars
    return {
        name: scalars[name].data[0].tolist()
        for name in sorted(scalars)
        if any(part in name for part in parts) and not name.endswith("time")
    }


def trained(task: Task, changes: dict[str, Any], name: str = "run") -> dict[str, Any]:
    """What a run of the task leaves."""
    runner = task.train(name, **changes)
    return summary(runner)


def summary(runner: Runner) -> dict[str, Any]:
    """What a run left: losses of this rank, what all ranks must have alike, and the whole state (rank 0)."""
    return {
        "losses": histories(runner, "train/loss"),
        "alike": {"ended": (runner.epoch, runner.iter), **histories(runner, "/lr", "val/", "norm")},
        "state": saved(runner),
    }


def mean_losses(ranks: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Means over the ranks of what each logged."""
    return {
        name: [sum(values) / len(ranks) for values in zip(*(rank["losses"][name] for rank in ranks), strict=True)]
        for name in ranks[0]["losses"]
    }


def expect_as_one_process(
    subject: Subject, tolerance: float = ROUNDED, loss_tolerance: float | None = None, **changes: Any
) -> None:
    """Train with these changes under the strategy and in one process; losses (means over the ranks), learning rates,
    metrics, norms and the whole state must be the same up to `tolerance`, the state up to ten times that."""
    one, ranks = subject.alone(trained, changes), subject.here(trained, changes)
    expect_same_run(ranks, one, tolerance, loss_tolerance)


def expect_same_run(
    ranks: Sequence[dict[str, Any]], one: dict[str, Any], tolerance: float, loss_tolerance: float | None = None
) -> None:
    """Fail where what the ranks summed up is not what one process did."""
    losses = mean_losses(ranks)
    expect_close(losses, one["losses"], "losses", tolerance if loss_tolerance is None else loss_tolerance)
    for rank, found in enumerate(ranks):
        expect_close(found["alike"], one["alike"], f"rank {rank}", 10 * tolerance)
    expect_close(ranks[0]["state"], one["state"], "state", 10 * tolerance)

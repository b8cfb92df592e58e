"""Several ranks of one run: they fail together, stop together, and go on as another number of ranks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as torch_dist

from trainwright import Runner, dist
from trainwright.base.errors import CheckpointError, DataError, Interrupted, RankError
from trainwright.checkpoint import read_file
from trainwright.dist import together
from trainwright.engine import Event, Hook
from trainwright.testing.rank_runs import SampleRecorder, train_toy
from trainwright.testing.ranks import run_ranks
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import ScriptedMetric, toy_config, toy_loader

DDP = {"type": "DDPStrategy"}


# -- stopping ------------------------------------------------------------------------------------------------------
class WishAt(Hook):
    """Asks one rank, alone, to stop."""

    def __init__(self, rank: int, iteration: int, by_signal: bool = False) -> None:
        self.rank, self.iteration, self.by_signal = rank, iteration, by_signal

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if (runner.rank, runner.iter) != (self.rank, self.iteration):
            return
        if self.by_signal:
            signal.raise_signal(signal.SIGINT)
        else:
            runner.ctx.stop.wish("enough")


def stopped_at(folder: Path, hooks: list[Hook], **changes: Any) -> tuple[int, str, str]:
    runner = Runner.from_cfg(
        toy_config(folder, train_dataloader=toy_loader(16, 2), custom_hooks=hooks, strategy=DDP, **changes)
    )
    with pytest.raises(Interrupted) as caught:
        runner.train()
    return runner.iter, os.path.basename(str(caught.value.checkpoint)), runner.ctx.stop.reason


def many_stops(folder: Path) -> list[tuple[int, str, str]]:
    return [
        stopped_at(folder / f"{n}", [WishAt(rank=n % 2, iteration=n % 5, by_signal=n % 3 == 0)], val_cfg=None,
                   val_dataloader=None, val_evaluator=None)
        for n in range(8)
    ]  # fmt: skip


def test_all_ranks_end_in_the_iteration_after_the_one_in_which_one_is_asked(tmp_path: Path) -> None:
    first, second = run_ranks(2, many_stops, tmp_path)
    assert first == second
    for n, (finished, name, reason) in enumerate(first):
        assert n % 5 + 1 <= finished <= n % 5 + 3, n  # counted in iterations that are over
        assert name == f"iter_{finished}.pth"
        assert reason == ("Ctrl-C" if n % 3 == 0 else "enough")


def test_a_stop_waits_for_the_end_of_an_accumulation_window(tmp_path: Path) -> None:
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 3}
    first, second = run_ranks(2, stop_in_a_window, tmp_path, wrapper)
    assert first == second == 3


def stop_in_a_window(folder: Path, wrapper: dict[str, Any]) -> int:
    return stopped_at(folder, [WishAt(rank=1, iteration=0)], optim_wrapper=wrapper)[0]


def end_early(folder: Path) -> tuple[int, int]:
    runner = train_toy(
        folder,
        strategy=DDP,
        train_cfg={"by_epoch": True, "max_epochs": 5},
        val_evaluator=[{"type": "ScriptedMetric", "score": [0.5, 0.4, 0.3, 0.2, 0.1]}],
        custom_hooks=[{"type": "EarlyStoppingHook", "monitor": "toy/score", "rule": "greater", "patience": 2}],
    )
    return runner.epoch, runner.iter


def test_early_stopping_ends_all_ranks_in_the_same_epoch(tmp_path: Path) -> None:
    assert ScriptedMetric.default_prefix == "toy"
    first, second = run_ranks(2, end_early, tmp_path)
    assert first == second == (3, 6)


# -- failing -------------------------------------------------------------------------------------------------------
def outcome(work: Any) -> tuple[str, str]:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - which one it is, is the question
        return type(error).__name__, str(error)
    return "", ""


def sample_fails(folder: Path) -> tuple[str, str]:
    changes = {"train_dataloader": toy_loader(16, 2, shuffle=False, fail_at=9), "strategy": DDP}
    return outcome(lambda: train_toy(folder, **changes))


def test_an_error_on_one_rank_ends_the_other_and_is_named(tmp_path: Path) -> None:
    (first, text), (second, own) = run_ranks(2, sample_fails, tmp_path)
    assert (second, first) == ("DataError", "RankError")
    assert "sample 9" in own
    assert text.startswith("rank 1 failed, and this one could not go on without it. The error of rank 1:\nTraceback")
    assert "the file of sample 9 is damaged" in text


def waits_in_vain(rank: int) -> None:
    together.GRACE_S = together.POLL_S = 0.2
    with contextlib.suppress(DataError), dist.failing_together():
        if dist.get_rank() != rank:
            dist.barrier()
        raise DataError("a bad sample")
    threading.Event().wait(20)  # the process lives on, and its connections with it


def test_a_rank_that_waits_for_one_that_failed_ends_its_process(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError, match="rank 0 failed:\nit ended without a result"):
        run_ranks(2, waits_in_vain, 1)
    said = capfd.readouterr().err
    assert "rank 0: rank 1 failed, and this one waits for it in vain: it ends here. The error of rank 1:\n" in said
    assert "DataError: a bad sample" in said


def fail_alike() -> tuple[str, str, int]:
    def work() -> None:
        with dist.failing_together():
            raise DataError(f"of all, and of rank {dist.get_rank()}")

    name, text = outcome(work)
    return name, text, len(dist.all_gather_object(0))


def test_an_error_that_all_ranks_have_stays_each_ones_own_and_the_group_lives() -> None:
    assert run_ranks(2, fail_alike) == [("DataError", f"of all, and of rank {rank}", 2) for rank in range(2)]


class Spoiler(Hook):
    """Puts something into rank 0's checkpoint that cannot be written."""

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if runner.rank == 0:
            checkpoint["bad"] = object()


def save_fails(folder: Path) -> tuple[str, str]:
    return outcome(lambda: train_toy(folder, strategy=DDP, custom_hooks=[Spoiler()]))


def test_a_checkpoint_that_rank_0_cannot_write_is_an_error_on_all(tmp_path: Path) -> None:
    first, second = run_ranks(2, save_fails, tmp_path)
    assert first == second
    assert first[0] == CheckpointError.__name__
    assert "was not written" in first[1]


class Unspeakable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("no copy of it can be made")


def refused(error: Exception) -> tuple[str, str, bool]:
    def refuse() -> Any:
        raise error

    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, is the question
        dist.from_main(refuse)
    return type(caught.value).__name__, str(caught.value), "Traceback" in str(caught.value.__cause__)


def ask_rank_0() -> list[Any]:
    found: list[Any] = [dist.from_main(lambda: ("made on", dist.get_rank()))]
    return [*found, *(refused(error) for error in (CheckpointError("no file"), Unspeakable("lost")))]


def test_what_rank_0_finds_or_raises_all_ranks_do() -> None:
    first, second = run_ranks(2, ask_rank_0)
    assert first == [("made on", 0), ("CheckpointError", "no file", False), ("Unspeakable", "lost", False)]
    assert second == [
        ("made on", 0),
        ("CheckpointError", "no file", True),
        ("RankError", "rank 0 failed: Unspeakable: lost", True),
    ]
    assert dist.from_main(lambda: 3) == 3
    assert issubclass(RankError, RuntimeError)


# -- checkpoints ---------------------------------------------------------------------------------------------------
class Counter(Hook):
    """With a state of its own on every rank."""

    state_is_per_rank = True

    def __init__(self) -> None:
        self.count = 0

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.count += 1 + 10 * runner.rank

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def files_of_a_run(folder: Path) -> Any:
    counter = Counter()
    runner = train_toy(folder, strategy=DDP, custom_hooks=[counter], randomness={"seed": 1, "diff_rank_seed": True})
    rest = Counter()
    again = train_toy(
        folder,
        strategy=DDP,
        custom_hooks=[rest],
        randomness={"seed": 1, "diff_rank_seed": True},
        resume=True,
        train_cfg={"by_epoch": True, "max_epochs": 3},
    )
    return runner.timestamp, again.timestamp, counter.count, rest.count, torch.initial_seed()


def test_rank_0_alone_writes_and_every_rank_has_its_state(tmp_path: Path) -> None:
    first, second = run_ranks(2, files_of_a_run, tmp_path)
    assert first[:2] == second[:2]
    assert [result[2:4] for result in (first, second)] == [(4, 6), (44, 66)]
    assert (first[4], second[4]) == (1, 2)
    tree = read_file(str(tmp_path / "epoch_2.pth"))
    assert tree["hooks"]["Counter"] == {"by_rank": [{"count": 4}, {"count": 44}]}
    assert tree["meta"]["world_size"] == len(tree["rng"]) == 2
    assert not torch.equal(tree["rng"][0]["torch"], tree["rng"][1]["torch"])
    (log,) = (tmp_path / first[0]).glob("*.log")
    (scalars,) = (tmp_path / first[0]).glob("vis_data/scalars.json")
    validated = [line for line in map(json.loads, scalars.read_text().splitlines()) if "accuracy/top1" in line]
    assert [line["step"] for line in validated] == [1, 2], "each line was written once"
    assert not list(tmp_path.glob(".tmp*"))
    assert log.read_text().count("hooks in order") <= 1


def order_of(folder: Path, stop_after: int | None, load_from: str | None) -> list[list[float]]:
    recorder = SampleRecorder()
    hooks: list[Hook] = [recorder]
    if stop_after is not None:
        hooks.append(StopAt(Event.AFTER_TRAIN_ITER, stop_after))
    with contextlib.suppress(Interrupted):
        train_toy(
            folder,
            train_dataloader=toy_loader(24, 8 // dist.get_world_size()),
            custom_hooks=hooks,
            load_from=load_from,
            resume=load_from is not None,
            **({"strategy": DDP} if dist.get_world_size() > 1 else {}),
        )
    return recorder.batches


def test_the_global_order_of_samples_outlives_changes_of_the_number_of_ranks(tmp_path: Path) -> None:
    (whole,) = run_ranks(1, order_of, tmp_path / "whole", None, None)
    parts = [
        run_ranks(2, order_of, tmp_path / "a", 2, None),
        run_ranks(1, order_of, tmp_path / "b", 2, str(tmp_path / "a" / "iter_2.pth")),
        run_ranks(2, order_of, tmp_path / "c", None, str(tmp_path / "b" / "iter_4.pth")),
    ]
    merged = [sorted(sum(batches, [])) for part in parts for batches in zip(*part, strict=True)]
    assert merged == [sorted(batch) for batch in whole]


# -- joining -------------------------------------------------------------------------------------------------------
def join_as_torchrun_says(folder: Path, ports: list[int]) -> Any:
    rank = dist.get_rank()
    torch_dist.destroy_process_group()
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(ports[0]), "TORCHELASTIC_RESTART_COUNT": "3"}
    os.environ.update(variables)
    runner = train_toy(
        folder,
        launcher="pytorch",
        env_cfg={"dist_cfg": {"backend": "nccl", "timeout": 60}},
        model_wrapper_cfg={"type": "MMDistributedDataParallel", "find_unused_parameters": True},
    )
    facts = (runner.rank == rank, runner.launcher, runner.distributed, type(runner.strategy).__name__)
    model: Any = runner.model
    backend = torch_dist.get_backend()
    store: Any = torch_dist.distributed_c10d._get_default_store()
    while hasattr(store, "underlying_store"):
        store = store.underlying_store
    own = all("attempt_3/" in key for key in store.list_keys() if "trainwright" in key)
    dist.cleanup()
    os.environ["MASTER_PORT"] = str(ports[1])
    inferred = dist.infer_launcher()
    again = type(Runner.from_cfg(toy_config(folder / "again", strategy=DDP, experiment_name="x")).strategy).__name__
    dist.cleanup()
    return facts, model.find_unused_parameters, backend, own, dist.is_distributed(), inferred, again


def test_a_run_joins_the_group_of_torchrun(tmp_path: Path) -> None:
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        ports = [free.getsockname()[1] for free in (one, other)]
    found = run_ranks(2, join_and_rejoin, tmp_path, ports)
    for facts, unused, backend, own, remains, inferred, again in found:
        assert facts == (True, "pytorch", True, "DDPStrategy")
        assert (unused, backend, remains, inferred, again) == (True, "gloo", False, "pytorch", "DDPStrategy")
        assert own, "what an earlier attempt left in torchrun's store is not seen"


def join_and_rejoin(folder: Path, ports: list[int]) -> Any:
    found = join_as_torchrun_says(folder, ports)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch_dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world_size)
    return found

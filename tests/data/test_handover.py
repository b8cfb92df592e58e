"""One process of a node reads the annotations; what the others get, and when each reads for itself."""

from __future__ import annotations

import gc
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from trainwright import dist
from trainwright.base.errors import DataError
from trainwright.data import BaseDataset, ConcatDataset, RepeatDataset, handover
from trainwright.testing.ranks import run_ranks


class Notes(BaseDataset):
    """Notes every reading in a file, and changes itself by reading as downstream datasets do."""

    def __init__(self, log: Path, size: int = 20, **settings: Any) -> None:
        self.log, self.size = str(log), size
        self.unused = "goes"
        super().__init__(**settings)

    def load_data_list(self) -> list[dict[str, Any]]:
        with open(self.log, "a") as file:
            file.write("x")
        self._metainfo["classes"] = ["a", "b"]
        self.cat2label = {1: 0, 7: 1}
        del self.unused
        return [{"n": n, "array": np.arange(n)} for n in range(self.size)]

    def filter_data(self) -> list[dict[str, Any]]:
        self.n_all = len(self.data_list)
        return [info for info in self.data_list if info["n"] % 2]


def n_reads(log: Path) -> int:
    return len(log.read_text())


def told(dataset: Any) -> dict[str, Any]:
    """What a user sees of a dataset."""
    return {
        "infos": [repr(dataset.get_data_info(at)) for at in range(len(dataset))],
        "metainfo": dataset.metainfo,
        **{name: getattr(dataset, name, None) for name in ("cat2label", "n_all", "unused", "data_list")},
        "file": dataset.data_bytes.file and dataset.data_bytes.file.path,
    }


def on_ranks(make: Any, world_size: int = 2) -> list[Any]:
    """``told(make())`` of every rank, all datasets alive at one time."""

    def rank() -> Any:
        dataset = make()
        found = told(dataset)
        dist.barrier()
        del dataset
        gc.collect()
        return found

    return run_ranks(world_size, rank)


def test_one_rank_reads_for_all(node, tmp_path):
    log = tmp_path / "log"
    parts = on_ranks(lambda: Notes(log, indices=7), 3)
    assert n_reads(log) == 1
    assert parts[0] == parts[1] == parts[2]
    alone = told(Notes(log, indices=7))
    assert {**alone, "file": ""} == {**parts[0], "file": ""}
    assert alone["n_all"] == 20
    assert alone["unused"] is None
    assert len(alone["infos"]) == 7


def test_equal_datasets_are_counted(node, tmp_path):
    """The second of a kind is read again: its file may have changed in between."""
    log = tmp_path / "log"

    def both() -> Any:
        last = Notes(log, size=4)
        last.others = ConcatDataset([Notes(log), Notes(log)])
        return last

    parts = on_ranks(both)
    assert n_reads(log) == 3
    assert parts[0] == parts[1]
    assert len(parts[0]["infos"]) == 2


def test_random_numbers_that_reading_draws(node, tmp_path):
    class Splits(Notes):
        def load_data_list(self) -> list[Any]:
            found = super().load_data_list()
            return [found[at] for at in torch.randperm(20).tolist()[: 5 + random.randint(0, 3)]]

    def draws(seed_by_rank: bool) -> Any:
        seed = 3 + seed_by_rank * dist.get_rank()
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        dataset = Splits(tmp_path / f"log{seed_by_rank}")
        found = told(dataset)["infos"], random.random(), np.random.rand(), torch.rand(1).item()
        dist.barrier()
        del dataset
        gc.collect()
        return found

    same = run_ranks(2, draws, False)
    assert n_reads(tmp_path / "logFalse") == 1
    assert same[0] == same[1]
    own = run_ranks(2, draws, True)
    assert n_reads(tmp_path / "logTrue") == 2
    assert own[0] == same[0]
    assert own[0] != own[1]


class ByRank(Notes):
    def load_data_list(self) -> list[Any]:
        return self._of_rank(super().load_data_list())

    def _of_rank(self, found: list[Any]) -> list[Any]:
        return found[_first() :]


def _first() -> int:
    return 10 * dist.get_rank()


def test_a_list_that_differs_by_rank_is_read_by_every_rank(node, tmp_path, capfd):
    parts = on_ranks(lambda: ByRank(tmp_path / "log"))
    assert n_reads(tmp_path / "log") == 2
    assert [len(part["infos"]) for part in parts] == [10, 5]
    assert "annotations of ByRank itself, because what reads them mentions get_rank." in capfd.readouterr().err


def test_share_data_decides(node, tmp_path):
    parts = on_ranks(lambda: ByRank(tmp_path / "a", share_data=True))
    assert n_reads(tmp_path / "a") == 1
    assert parts[0] == parts[1]
    on_ranks(lambda: Notes(tmp_path / "b", share_data=False))
    assert n_reads(tmp_path / "b") == 2

    class Never(Notes):
        share_data = False

    on_ranks(lambda: Never(tmp_path / "c"))
    assert n_reads(tmp_path / "c") == 2
    on_ranks(lambda: Notes(tmp_path / "d", serialize_data=False) and Notes(tmp_path / "e"))
    assert n_reads(tmp_path / "d") == 2
    assert n_reads(tmp_path / "e") == 1


def test_an_attribute_that_cannot_be_handed_on(node, tmp_path, capfd):
    class Opens(Notes):
        def load_data_list(self) -> list[Any]:
            self.handle = open(self.log, "a")  # noqa: SIM115
            return super().load_data_list()

    parts = on_ranks(lambda: Opens(tmp_path / "log"))
    assert n_reads(tmp_path / "log") == 2
    assert parts[0] == parts[1], "each has read, and their bytes are stored once all the same"
    assert "annotations of Opens itself: its attribute 'handle' cannot be handed on" in capfd.readouterr().err


def test_a_full_init_of_its_own(node, tmp_path):
    """As mmdet has one: every rank reads, and the bytes are stored once."""

    class Own(Notes):
        def full_init(self) -> None:
            self.data_list = self.load_data_list()
            self.data_bytes, self.data_address = self._serialize_data()
            self._fully_initialized = True

    parts = on_ranks(lambda: Own(tmp_path / "log"))
    assert n_reads(tmp_path / "log") == 2
    assert parts[0] == parts[1]


def test_a_rank_that_fails_tells_the_others(node, tmp_path):
    class Fails(Notes):
        def load_data_list(self) -> list[Any]:
            super().load_data_list()
            raise OSError("the disk is gone")

    def rank() -> str:
        dist.barrier()
        try:
            Fails(tmp_path / "log")
        except (OSError, DataError) as error:
            found = f"{type(error).__name__}: {error}"
        dist.barrier()
        return found

    found = sorted(run_ranks(3, rank), key=len)
    assert n_reads(tmp_path / "log") <= 3
    assert found[0] == "OSError: the disk is gone"
    assert all(
        text == found[0] or ("DataError: the annotations of Fails" in text and "failed with OSError" in text)
        for text in found
    )


def test_the_message_of_a_failure(node, tmp_path):
    """What a rank gets that was waiting while another failed."""
    head = tmp_path / "head"
    dataset = Notes(tmp_path / "log")

    def load() -> None:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        handover._load_first(dataset, load, str(head))
    message = r"annotations of Notes could not be read: another process.*\(number \d+\), which reads them for all of"
    with pytest.raises(DataError, match=message + " this node, failed with OSError: the disk is gone"):
        handover._read(str(head))
    del dataset


def test_the_next_rank_reads_when_the_first_is_gone(node, tmp_path):
    """The first dataset, and its file, are gone before the second rank wants them."""

    def rank() -> Any:
        if dist.get_rank() == 0:
            Notes(tmp_path / "log")
        dist.barrier()
        found = told(Notes(tmp_path / "log"))["infos"] if dist.get_rank() == 1 else []
        dist.barrier()
        return found

    assert len(run_ranks(2, rank)[1]) == 10
    assert n_reads(tmp_path / "log") == 2


def test_a_rank_may_read_what_no_other_wants(node, tmp_path):
    """As a metric does that runs on rank 0 alone: nobody is waited for."""

    def rank() -> int:
        found = len(Notes(tmp_path / "log")) if dist.get_rank() == 1 else 0
        dist.barrier()
        return found

    assert run_ranks(2, rank) == [0, 10]


def _seen_by_workers(dataset: Any, workers: int = 2) -> list[Any]:
    loader = DataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=lambda samples: samples[0])
    return list(loader)


class Where(Notes):
    """A sample says which file holds it."""

    def prepare_data(self, idx: int) -> Any:
        assert self.data_bytes.file is not None
        return self.get_data_info(idx)["n"], self.data_bytes.file.path


def test_forked_workers_read_from_the_file(node, tmp_path):
    dataset = RepeatDataset(Where(tmp_path / "log"), 2)
    found = _seen_by_workers(dataset)
    assert [n for n, _ in found] == [*range(1, 20, 2)] * 2
    assert {path for _, path in found} == {dataset.dataset.data_bytes.file.path}
    assert n_reads(tmp_path / "log") == 1


def test_one_worker_reads_for_all_where_nobody_has_before(node, tmp_path):
    class Late(Where):
        def __len__(self) -> int:  # known without reading
            return 10

    dataset = Late(tmp_path / "log", lazy_init=True)
    found = _seen_by_workers(dataset)
    assert sorted(n for n, _ in found) == [*range(1, 20, 2)]
    assert len({path for _, path in found}) == 1
    assert n_reads(tmp_path / "log") == 1
    assert not dataset._fully_initialized


def test_workers_try_again_what_others_have_failed_to_read(node, tmp_path, monkeypatch):
    class Late(Where):
        def __len__(self) -> int:
            return 10

        def load_data_list(self) -> list[Any]:
            if os.environ.get("TW_TEST_DISK") == "gone":
                raise OSError("the disk is gone")
            return super().load_data_list()

    keeps_the_folder = Where(tmp_path / "other")
    dataset = Late(tmp_path / "log", lazy_init=True)
    monkeypatch.setenv("TW_TEST_DISK", "gone")
    with pytest.raises(OSError, match="the disk is gone"):
        _seen_by_workers(dataset)
    monkeypatch.setenv("TW_TEST_DISK", "there")
    assert sorted(n for n, _ in _seen_by_workers(dataset)) == [*range(1, 20, 2)]
    del keeps_the_folder


def test_workers_of_ranks_that_have_read_nothing(node, tmp_path):
    class Late(Where):
        def __len__(self) -> int:
            return 10

    def rank() -> Any:
        dataset = Late(tmp_path / "log", lazy_init=True)
        loader = DataLoader(dataset, None, num_workers=2, persistent_workers=True)
        found = list(loader)
        dist.barrier()
        del loader
        gc.collect()
        return found

    parts = run_ranks(2, rank)
    assert parts[0] == parts[1]
    assert n_reads(tmp_path / "log") == 1


def test_a_forked_process_does_not_talk_through_its_parents_group(node, tmp_path):
    import multiprocessing

    def rank() -> int:
        def child() -> None:
            assert len(Notes(tmp_path / f"log{dist.get_rank()}")) == 10

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        dist.barrier()
        return process.exitcode

    assert run_ranks(2, rank) == [0, 0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": 1}, {"a": 1.0}),
        ([1, 2], (1, 2)),
        ("1", 1),
        (np.arange(3), np.arange(3.0)),
        (np.arange(4), np.arange(4).reshape(2, 2)),
        ({1}, frozenset({1})),
        (Path("a"), "a"),
        (np.array([None, 1], object), np.array([None, 2], object)),
        (len, max),
        (torch.arange(2), torch.arange(3)),
        (True, 1),
    ],
)
def test_values_are_told_apart(first, second):
    assert handover._canonical(first) != handover._canonical(second)
    assert handover._canonical(first) == handover._canonical(first)


def test_sets_are_equal_in_any_order():
    one, other = set(range(0, 4096, 8)), set(range(4088, -8, -8))
    one |= {-1}
    assert handover._canonical(one) == handover._canonical(other | {-1})
    assert handover._canonical(open) != handover._canonical(lambda: 1)

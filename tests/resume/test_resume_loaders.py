"""Whole runs over iterable datasets with a state, samples that are skipped, and loaders of a user's own."""

import random
from typing import Any

import pytest
from resuming import BY_ITER, assert_same, config, resumed, run
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from trainwright.base.errors import ConfigError
from trainwright.data import default_collate
from trainwright.engine import Event
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import ToyDataset, differences

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


class Stream(IterableDataset):
    """The toy's points as a stream with a shuffle buffer; with or without a state."""

    def __init__(self, stateful: bool) -> None:
        self.points = ToyDataset(18, noise=0.3)
        self.at, self.buffer = 0, []
        if stateful:
            self.state_dict = lambda: {"at": self.at, "buffer": self.buffer}
            self.load_state_dict = lambda state: self.__dict__.update(state)

    def __iter__(self):
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        for index in range(first + self.at * step, 18, step):
            self.at += 1
            self.buffer.append(index)
            if len(self.buffer) == 3:
                yield self.points[self.buffer.pop(random.randrange(3))]
        while self.buffer:
            yield self.points[self.buffer.pop()]
        self.at = 0


def settings(stateful: bool, workers: int) -> dict[str, Any]:
    loader = {"dataset": Stream(stateful), "batch_size": 4, "num_workers": workers}
    return {
        "train_dataloader": {**loader, "collate_fn": {"type": "default_collate"}},
        "param_scheduler": BY_ITER,
        "optimizer": "adamw",
        "epochs": 3,
    }


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("nth", [2, 8])
def test_over_a_stream(tmp_path, stateful, workers, nth):
    straight = run(config(tmp_path / "one", **settings(stateful, workers)))
    run(config(tmp_path / "parts", **settings(stateful, workers)), StopAt(Event.AFTER_TRAIN_ITER, nth))
    assert_same(straight, resumed(config(tmp_path / "parts", **settings(stateful, workers))))


@pytest.mark.parametrize("workers", [0, 2])
def test_with_samples_that_are_skipped(tmp_path, workers):
    loader = {
        "dataset": {"type": "ToyDataset", "size": 18, "noise": 0.3, "fail_at": 7},
        "batch_size": 4,
        "num_workers": workers,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "collate_fn": {"type": "default_collate"},
        "on_sample_error": {"skip": {"max": 1}},
    }
    changes = {"train_dataloader": loader, "epochs": 3}
    straight = run(config(tmp_path / "one", **changes))
    run(config(tmp_path / "parts", **changes), StopAt(Event.AFTER_TRAIN_ITER, 7))
    rest = resumed(config(tmp_path / "parts", **changes))
    assert_same(straight, rest)
    assert rest.train_dataloader.skipped_samples == [7]


class PositionedLoader(DataLoader):
    """A loader of a user's own with a state, in the manner of torchdata's StatefulDataLoader."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.given = self.start = 0

    def __iter__(self):
        start, self.start = self.start, 0
        self.given = start
        order = list(range(start * 4, 18))
        for at in range(0, len(order), 4):
            batch = default_collate([self.dataset[index] for index in order[at : at + 4]])
            self.given += 1
            yield batch
        self.given = 0

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["given"]


def test_a_loader_of_a_users_own_with_a_state(tmp_path):
    def changes():
        return {"train_dataloader": PositionedLoader(ToyDataset(18, noise=0.3), batch_size=4), "epochs": 3}

    straight = run(config(tmp_path / "one", **changes()))
    run(config(tmp_path / "parts", **changes()), StopAt(Event.AFTER_TRAIN_ITER, 7))
    assert_same(straight, resumed(config(tmp_path / "parts", **changes())))


@pytest.mark.filterwarnings("ignore:.*is deprecated:UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchdatas_stateful_loader(tmp_path):
    """The order is its own and exact; what augmentations draw in this process, too."""
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def changes():
        dataset = ToyDataset(18, noise=0.3)
        loader = stateful(dataset, batch_size=4, shuffle=False, collate_fn=default_collate)
        return {"train_dataloader": loader, "epochs": 3}

    straight = run(config(tmp_path / "one", **changes()))
    run(config(tmp_path / "parts", **changes()), StopAt(Event.AFTER_TRAIN_ITER, 7))
    rest = resumed(config(tmp_path / "parts", **changes()))
    assert differences(straight.final["state_dict"], rest.final["state_dict"]) == []


@pytest.mark.parametrize("several", [False, True])
def test_an_evaluation_leaves_nothing_out(tmp_path, several):
    cfg = config(tmp_path)
    cfg["val_dataloader"] |= {"on_sample_error": "skip"}
    if several:
        cfg["val_dataloader"] = {"near": cfg["val_dataloader"]}
        cfg["val_evaluator"] = {"near": cfg["val_evaluator"]}
    with pytest.raises(
        ConfigError, match="val_dataloader has on_sample_error='skip'.* an evaluation would count it twice"
    ):
        run(cfg)

"""A run in parts over BaseDataset and its wrappers: augmentations that draw, samples that are dropped and replaced."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from resuming import BY_ITER, assert_same, config, resumed, run

from trainwright.data import BaseDataset
from trainwright.engine import Event
from trainwright.registry import DATASETS
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import CLASSES, DIM, differences

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def noisy(info: dict[str, Any]) -> dict[str, Any]:
    draws = random.random() + float(np.random.rand())
    return {"inputs": torch.tensor(info["point"]) + 0.3 * (draws + torch.randn(DIM)), "label": info["label"]}


def sometimes_none(sample: dict[str, Any]) -> dict[str, Any] | None:
    return None if random.random() < 0.4 else sample


class Points(BaseDataset):
    """18 points in three classes; the third is rare."""

    METAINFO = {"classes": ("a", "b", "c")}

    def load_data_list(self) -> list[dict[str, Any]]:
        generator = np.random.RandomState(1)
        labels = [0, 1] * 8 + [2, 2]
        return [{"point": generator.randn(DIM).astype(np.float32) + label, "label": label} for label in labels]

    def get_cat_ids(self, idx: int) -> list[int]:
        assert CLASSES == 3
        return [self.get_data_info(idx)["label"]]


@pytest.fixture(autouse=True)
def registered():
    DATASETS.register_module(name="PointsForTest", force=True, module=Points)
    yield
    DATASETS._module_dict.pop("PointsForTest", None)


def dataset(kind: str, **settings: Any) -> dict[str, Any]:
    part = {"type": "PointsForTest", "pipeline": [noisy, sometimes_none], **settings}
    few = [{**part, "indices": 4}, {**part, "indices": [16, 17, 3]}]
    return {
        "base": part,
        "subset": {**part, "indices": 14, "serialize_data": False},
        "concat": {"type": "ConcatDataset", "datasets": [{**part, "indices": 7}, {**part, "indices": -9}]},
        "repeat": {"type": "RepeatDataset", "dataset": {**part, "indices": 9}, "times": 2},
        "balanced": {"type": "ClassBalancedDataset", "dataset": part, "oversample_thr": 0.3},
        "all": {
            "type": "RepeatDataset",
            "times": 2,
            "dataset": {
                "type": "ConcatDataset",
                "datasets": few,
            },
        },
    }[kind]


def settings(kind: str, workers: int) -> dict[str, Any]:
    loader = {
        "dataset": dataset(kind),
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "batch_size": 4,
        "collate_fn": {"type": "default_collate"},
        "num_workers": workers,
    }
    return {"train_dataloader": loader, "param_scheduler": BY_ITER, "optimizer": "adamw", "epochs": 3}


@pytest.mark.parametrize("kind", ["base", "subset", "concat", "repeat", "balanced", "all"])
def test_stopped_and_resumed(tmp_path, kind):
    cfg = settings(kind, 0)
    straight = run(config(tmp_path / "one", **cfg))
    resumed(config(tmp_path / "parts", **cfg), StopAt(Event.AFTER_TRAIN_ITER, 6))
    assert_same(straight, resumed(config(tmp_path / "parts", **settings(kind, 2))))


def test_the_comparison_sees_another_order(tmp_path):
    one = run(config(tmp_path / "one", **settings("base", 0)))
    other = run(config(tmp_path / "other", randomness={"seed": 2}, **settings("base", 0)))
    assert differences(one.final["state_dict"], other.final["state_dict"])


def test_a_replaced_sample_is_drawn_from_the_streams_of_the_one_it_replaces():
    """Whatever was read before, and in whichever process."""
    from trainwright.data import build_dataloader

    def epoch(workers: int, batch_size: int, skip: int) -> list[Any]:
        cfg = settings("all", workers)["train_dataloader"] | {"batch_size": batch_size}
        loader = build_dataloader(cfg, seed=3)
        loader.set_epoch(2)
        samples = [(x, y) for batch in loader for x, y in zip(batch["inputs"], batch["label"], strict=True)]
        return samples[skip:]

    expected = epoch(0, 1, 0)
    assert len(expected) == 14
    for other in (epoch(0, 7, 0), epoch(2, 2, 0)):
        assert all(torch.equal(a, b) and c == d for (a, c), (b, d) in zip(expected, other, strict=True))

"""The parts of the shipped examples."""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from trainwright.config import Config
from trainwright.data import build_dataloader
from trainwright.registry import METRICS, MODELS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def digits():
    cfg = Config.fromfile(str(CONFIGS / "digits" / "cnn.py"))
    return cfg, importlib.import_module("digits_parts")


@pytest.fixture(scope="module")
def text():
    cfg = Config.fromfile(str(CONFIGS / "text" / "gpt_bytes.py"))
    return cfg, importlib.import_module("gpt_parts")


def test_digits_are_split_once_and_for_all(digits):
    _, parts = digits
    train, test = parts.Digits("train"), parts.Digits("test")
    assert (len(train), len(test)) == (1437, 360)
    assert np.bincount(test.labels).min() > 25
    assert test.labels[:10].tolist() == parts.Digits("test").labels[:10].tolist()
    assert train.images.max() == 1.0
    with pytest.raises(ValueError, match="split='val' must be 'train' or 'test'"):
        parts.Digits("val")


def test_augmentation_follows_the_random_stream_and_keeps_the_digit(digits):
    _, parts = digits
    sample = parts.Digits("train")[0]
    affine = parts.RandomAffine(degrees=12, scale=0.12, shift=1.0)
    np.random.seed(3)
    one, other = affine(sample), affine(sample)
    np.random.seed(3)
    again = affine(sample)
    assert np.array_equal(one["inputs"], again["inputs"])
    assert not np.array_equal(one["inputs"], other["inputs"])
    assert one["label"] == sample["label"]
    assert one["inputs"].min() >= 0.0
    assert one["inputs"].max() <= 1.0
    still = parts.RandomAffine(degrees=0, scale=0, shift=0)(sample)
    np.testing.assert_allclose(still["inputs"], sample["inputs"], atol=1e-6)


def test_digits_batch_trains_and_predicts(digits):
    cfg, _ = digits
    batch = next(iter(build_dataloader(cfg.train_dataloader, seed=0)))
    assert batch["inputs"].shape == (64, 1, 8, 8)
    model = MODELS.build(cfg.model)
    loss = model(**batch, mode="loss")["loss"]
    loss.backward()
    assert 1.5 < float(loss.detach()) < 4.0
    assert model(batch["inputs"]).shape == (64, 10)
    metric = METRICS.build(cfg.val_evaluator)
    metric.process(batch, model.val_step(batch))
    assert 0 <= metric.evaluate(64)["accuracy/top1"] <= 100


def test_text_comes_in_windows_and_splits_do_not_overlap(text):
    _, parts = text
    train, val = parts.stdlib_text("train"), parts.stdlib_text("val")
    assert len(train) > 10 * len(val) > 1_000_000
    data = parts.StdlibText("val", block=64, n_windows=10)
    assert len(data) == 10
    assert torch.equal(data[9]["inputs"], data[9]["inputs"])
    assert data[9]["inputs"].shape == (65,)
    every = parts.StdlibText("train", block=64)
    torch.manual_seed(0)
    assert all(every[i]["inputs"].shape == (65,) for i in (0, len(every) - 1) for _ in range(20))
    with pytest.raises(ValueError, match="split='test' must be 'train' or 'val'"):
        parts.StdlibText("test", block=64)


def test_gpt_has_about_a_million_parameters_and_does_not_look_ahead(text):
    cfg, _ = text
    model = MODELS.build(cfg.model).eval()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1_000_000, rel=0.1)
    inputs = torch.randint(256, (2, 32))
    changed = inputs.clone()
    changed[:, 20:] = 0
    with torch.no_grad():
        torch.testing.assert_close(model(inputs)[:, :20], model(changed)[:, :20])
    with pytest.raises(ValueError, match="width=10 must be a multiple of n_heads=4"):
        MODELS.build({**cfg.model, "width": 10})


def test_bits_per_byte_of_a_fresh_model_are_about_eight(text):
    cfg, _ = text
    model = MODELS.build(cfg.model)
    metric = METRICS.build(cfg.val_evaluator)
    batch = {"inputs": torch.randint(256, (4, 129))}
    with torch.no_grad():
        metric.process(batch, model.val_step(batch))
        nats = float(model(**batch, mode="loss")["loss"])
    found = metric.evaluate(4)["text/bits_per_byte"]
    assert found == pytest.approx(nats / math.log(2), rel=1e-5)
    assert found == pytest.approx(8.0, abs=0.4)

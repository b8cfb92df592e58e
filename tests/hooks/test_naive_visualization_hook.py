"""What NaiveVisualizationHook hands to a visualizer that draws samples."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from trainwright.base.errors import ConfigError, DataError
from trainwright.hooks import NaiveVisualizationHook
from trainwright.hooks.naive_visualization_hook import original_image
from trainwright.model import BaseModel
from trainwright.registry import DATASETS, MODELS, VISUALIZERS
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config
from trainwright.visualization import Visualizer

PICTURE = (torch.arange(24) * 9).reshape(4, 2, 3).to(torch.uint8)  # (H, W, C)
CHW = PICTURE.permute(2, 0, 1)


@VISUALIZERS.register_module()
class SampleVisualizer(Visualizer):
    def add_datasample(self, name, image, data_sample=None, draw_gt=True, draw_pred=True, step=0, **kwargs):
        self.seen = [*getattr(self, "seen", []), (name, image, data_sample, draw_gt, draw_pred, step)]
        self.add_image(name, image, step)


@DATASETS.register_module()
class Pictures(Dataset):
    def __init__(self, named=True):
        self.named = named

    def __len__(self):
        return 6

    def __getitem__(self, index):
        path = {"img_path": f"folder/{index}.png"} if self.named else {}
        return {"inputs": CHW + index, "data_samples": SimpleNamespace(index=index, **path)}


@MODELS.register_module()
class PictureModel(BaseModel):
    def forward(self, inputs, data_samples=None, mode="tensor"):
        return [SimpleNamespace(prediction=sample.index) for sample in data_samples]


def run(folder, dataset=None, visualizer="SampleVisualizer", **hook):
    cfg = {
        "model": {"type": "PictureModel"},
        "work_dir": str(folder),
        "test_dataloader": {
            "dataset": {"type": "Pictures", **(dataset or {})},
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "batch_size": 2,
            "collate_fn": {"type": "pseudo_collate"},
        },
        "test_cfg": {},
        "test_evaluator": {"type": "ScriptedMetric"},
        "custom_hooks": [{"type": "NaiveVisualizationHook", **hook}],
        "visualizer": {"type": visualizer, "name": folder.name, "vis_backends": [{"type": "LocalVisBackend"}]},
        "log_level": "WARNING",
    }
    runner = Runner.from_cfg(cfg)
    runner.test()
    return runner


def test_every_sample_with_its_prediction(tmp_path):
    runner = run(tmp_path, draw_gt=False)
    seen = runner.visualizer.seen
    assert [(name, step) for name, *_, step in seen] == [(f"{n}.png", n) for n in range(6)]
    for n, (_, image, sample, draw_gt, draw_pred, _) in enumerate(seen):
        assert np.array_equal(image, (PICTURE + n).numpy())
        assert (sample.prediction, draw_gt, draw_pred) == (n, False, True)
    assert len(list(tmp_path.rglob("vis_image/*.png"))) == 6


def test_every_second_batch_and_samples_without_a_name(tmp_path):
    seen = run(tmp_path, {"named": False}, interval=2, draw_pred=False).visualizer.seen
    assert [(name, draw_pred, step) for name, *_, draw_pred, step in seen] == [
        ("test_2", False, 2),
        ("test_3", False, 3),
    ]


def test_it_does_nothing_in_training(tmp_path):
    cfg = toy_config(tmp_path, custom_hooks=[NaiveVisualizationHook()])
    Runner.from_cfg(cfg).train()


def test_a_visualizer_that_draws_no_samples(tmp_path):
    with pytest.raises(ConfigError, match="nobody to draw: Visualizer has no add_datasample\\(\\) of its own"):
        run(tmp_path, visualizer="Visualizer")


def shown(batch, outputs):
    calls = []
    visualizer = SimpleNamespace(add_datasample=lambda name, image, **kwargs: calls.append((name, image, kwargs)))
    NaiveVisualizationHook().after_test_iter(SimpleNamespace(visualizer=visualizer), 0, batch, outputs)
    return calls


def test_the_older_form_of_a_batch():
    batch = [{"inputs": CHW, "data_sample": {"img_path": "a/b.png"}}, {"inputs": CHW}]
    first, second = shown(batch, [{"p": 1}, {"img_path": "c.png"}])
    assert (first[0], second[0]) == ("b.png", "c.png")
    assert first[2] == {"data_sample": {"p": 1}, "draw_gt": True, "draw_pred": True, "step": 0}


def test_a_stacked_batch_without_samples():
    assert [name for name, *_ in shown({"inputs": torch.stack([CHW, CHW])}, [{}, {}])] == ["test_0", "test_1"]


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        ({"img": [1]}, "but got the keys img"),
        ([1], "but got a list"),
        (torch.zeros(1), "but got a Tensor"),
        ({"inputs": [torch.zeros(2, 4, 4)]}, r"shape \(1 or 3, H, W\), but got \(2, 4, 4\)"),
        ({"inputs": ["x"]}, r"shape \(1 or 3, H, W\), but got str"),
    ],
)
def test_batches_that_are_no_pictures(batch, text):
    with pytest.raises(DataError, match=text):
        shown(batch, [{}])


MEAN, STD = [10.0, 20.0, 30.0], [2.0, 3.0, 4.0]
NORMED = (CHW - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@pytest.mark.parametrize(
    ("image", "sample"),
    [
        (CHW, {}),
        (CHW, None),
        (CHW.float(), {}),
        (CHW / 255, {}),
        (NORMED, {"img_norm_cfg": {"mean": MEAN, "std": STD, "to_rgb": True}}),
        (torch.nn.functional.pad(CHW, (0, 3, 0, 1)), {"img_shape": (4, 2), "ori_shape": (4, 2)}),
        (torch.nn.functional.pad(CHW, (0, 3, 0, 1)), SimpleNamespace(img_shape=(4, 2), ori_height=4, ori_width=2)),
        (CHW.repeat_interleave(2, 1).repeat_interleave(2, 2), {"ori_shape": (4, 2, 3)}),
    ],
)
def test_the_picture_as_it_was(image, sample):
    found = original_image(image, sample)
    assert found.dtype == np.uint8
    assert np.array_equal(found, PICTURE.numpy())


def test_one_channel():
    assert original_image(CHW[:1], {}).shape == (4, 2, 1)


@pytest.mark.parametrize("interval", [0, 1.5, True])
def test_an_impossible_interval(interval):
    with pytest.raises(ConfigError, match="interval must be a whole number from 1 on"):
        NaiveVisualizationHook(interval=interval)

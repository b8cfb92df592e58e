"""Images to one normalised tensor."""

import pytest
import torch

from trainwright.base.errors import ConfigError, ConfigKeyError, ConfigTypeError, DataError
from trainwright.model import BaseModel, ImgDataPreprocessor
from trainwright.registry import MODELS

MEAN, STD = [123.5, 116.0, 103.0], [58.0, 57.0, 57.5]


def image(height, width, channels=3):
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8)


def test_a_list_of_images():
    torch.manual_seed(0)
    processor = ImgDataPreprocessor(MEAN, STD, pad_size_divisor=8, pad_value=-1, bgr_to_rgb=True)
    images = [image(5, 7), image(9, 3)]
    data = {"inputs": images, "data_samples": ["a", "b"]}
    out = processor(data)
    assert data["inputs"] is images
    assert out["data_samples"] == ["a", "b"]
    assert out["inputs"].shape == (2, 3, 16, 8)
    for own, given in zip(out["inputs"], images, strict=True):
        height, width = given.shape[1:]
        expected = (given[[2, 1, 0]].float() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        assert torch.equal(own[:, :height, :width], expected)
        assert torch.all(own[:, height:] == -1)
        assert torch.all(own[:, :, width:] == -1)


def test_one_tensor():
    torch.manual_seed(0)
    batch = torch.stack([image(6, 8), image(6, 8)])
    out = ImgDataPreprocessor([100], [50], pad_size_divisor=4, rgb_to_bgr=True)({"inputs": batch})
    expected = (batch[:, [2, 1, 0]].float() - 100) / 50
    assert torch.equal(out["inputs"][:, :, :6], expected)
    assert out["inputs"].shape == (2, 3, 8, 8)
    assert torch.all(out["inputs"][:, :, 6:] == 0)
    assert out["data_samples"] is None


def test_nothing_but_stacking():
    processor = ImgDataPreprocessor()
    assert not processor._enable_normalize
    assert not processor._channel_conversion
    clip = torch.rand(2, 3, 4, 5)  # (C, T, H, W)
    assert torch.equal(processor({"inputs": [clip]})["inputs"][0], clip)
    grey = ImgDataPreprocessor([0.5], [2.0])
    assert torch.equal(grey({"inputs": [torch.ones(1, 2, 2)]})["inputs"], torch.full((1, 1, 2, 2), 0.25))


def test_mean_and_std_move_and_are_not_saved():
    class Model(BaseModel):
        def forward(self, inputs, data_samples=None, mode="tensor"):
            return inputs

    model = Model({"type": "ImgDataPreprocessor", "mean": MEAN, "std": STD})
    assert isinstance(model.data_preprocessor, MODELS.get("ImgDataPreprocessor"))
    assert model.state_dict() == {}
    model.to("meta")
    assert model.data_preprocessor.mean.is_meta
    assert model.data_preprocessor.device.type == "meta"
    assert model.test_step({"inputs": torch.zeros(1, 3, 2, 2)}).is_meta


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bgr_to_rgb": True, "rgb_to_bgr": True}, "cannot be set both.*bgr_to_rgb=True and rgb_to_bgr=True"),
        ({"mean": MEAN}, "should be given both, to normalise, or none: ImgDataPreprocessor has mean and no std"),
        ({"std": STD}, "has std and no mean"),
        (
            {"mean": [1, 2], "std": STD},
            r"`mean` should have 1 value in ImgDataPreprocessor, for all channels, or 3 in a list, got \[1, 2\]",
        ),
        ({"mean": MEAN, "std": []}, "`std` should have 1 value"),
        ({"mean": MEAN, "std": [1, 0, 1]}, "std is divided by and must not be 0"),
        ({"mean": "abc", "std": STD}, "`mean` should have 1 value"),
        ({"pad_size_divisor": 0}, "pad_size_divisor must be at least 1, got 0"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        ImgDataPreprocessor(**settings)


@pytest.mark.parametrize(
    ("settings", "data", "error", "message"),
    [
        (
            {},
            [1],
            ConfigTypeError,
            "a dict with a tensor, or a list of tensors, under 'inputs', for ImgDataPreprocessor, got list",
        ),
        ({}, {"images": 1}, ConfigKeyError, r"got dict: \['images'\]. The loader's collate_fn"),
        ({}, {"inputs": []}, ConfigTypeError, "whose inputs are list"),
        ({}, {"inputs": [1]}, ConfigTypeError, "whose inputs are list"),
        ({}, {"inputs": torch.zeros(2, 3, 4)}, DataError, r"should be a NCHW tensor or a list, got \(2, 3, 4\)"),
        (
            {"mean": MEAN, "std": STD},
            {"inputs": [torch.zeros(3, 2, 2), torch.zeros(1, 2, 2)]},
            DataError,
            r"the mean has 3 values, images must have 3 channels, but image 1 of the batch has the shape \(1, 2, 2\)",
        ),
        ({"mean": MEAN, "std": STD}, {"inputs": torch.zeros(1, 1, 2, 2)}, DataError, "inputs have the shape"),
        (
            {"bgr_to_rgb": True},
            {"inputs": torch.zeros(1, 4, 2, 2)},
            DataError,
            "turn three channels around, but inputs",
        ),
        (
            {},
            {"inputs": [torch.zeros(3, 2, 2), torch.zeros(1, 2, 2)]},
            DataError,
            r"sample 0 has shape \(3, 2, 2\), sample 1 has \(1, 2, 2\)",
        ),
    ],
)
def test_unusable_batches(settings, data, error, message):
    with pytest.raises(error, match=message):
        ImgDataPreprocessor(**settings)(data)

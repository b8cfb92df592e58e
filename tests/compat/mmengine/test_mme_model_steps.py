"""mmengine.model.base_model and test_time_aug: models, their steps, and what comes before them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD
from torch.utils.data import DataLoader

pytestmark = pytest.mark.usefixtures("mmengine")


@pytest.fixture
def toy():
    from mmengine.model import BaseModel

    class ToyModel(BaseModel):
        def __init__(self, data_preprocessor=None):
            super().__init__(data_preprocessor=data_preprocessor, init_cfg=None)
            self.conv = nn.Conv2d(3, 1, 1)

        def forward(self, inputs, data_samples=None, mode="tensor"):
            if mode == "loss":
                return {"loss": self.conv(inputs)}
            return self.conv(inputs) if mode == "tensor" else inputs

    return ToyModel


@pytest.fixture
def preprocessor():
    from mmengine.model import BaseDataPreprocessor
    from mmengine.registry import MODELS

    class CustomDataPreprocessor(BaseDataPreprocessor):
        def forward(self, data, training=False):
            return 1 if training else 2

    MODELS.register_module(module=CustomDataPreprocessor)
    yield CustomDataPreprocessor
    MODELS.module_dict.pop("CustomDataPreprocessor")


def test_the_data_preprocessor(toy, preprocessor):
    from mmengine.model import BaseDataPreprocessor

    assert isinstance(toy().data_preprocessor, BaseDataPreprocessor)
    for given in ({"type": "CustomDataPreprocessor"}, preprocessor()):
        model = toy(data_preprocessor=given)
        assert isinstance(model.data_preprocessor, preprocessor)
        assert model.data_preprocessor(1, training=True) == 1
        assert model.data_preprocessor(1, training=False) == 2
    with pytest.raises(TypeError, match="data_preprocessor should be"):
        toy(data_preprocessor=1)


def test_losses_become_one(toy):
    losses = {"loss_cls": torch.tensor(1.0), "loss_list": [torch.tensor(2.0), torch.tensor(2.0)]}
    total, log_vars = toy().parse_losses(losses)
    expected = {"loss": 5.0, "loss_cls": 1.0, "loss_list": 4.0}
    assert total == 5
    assert list(log_vars) == list(expected)
    for name, value in log_vars.items():
        assert isinstance(value, torch.Tensor)
        assert value == expected[name]
    losses["error_key"] = {}
    with pytest.raises(TypeError):
        toy().parse_losses(losses)


def test_steps(toy):
    from mmengine.optim import OptimWrapper

    model = toy()
    before = model.conv.weight.detach().clone()
    wrapper = OptimWrapper(SGD(model.parameters(), lr=0.1))
    inputs = torch.randn(1, 3, 1, 1)
    data = {"inputs": inputs, "data_samples": None}
    log_vars = model.train_step(data, wrapper)
    assert isinstance(log_vars["loss"], torch.Tensor)
    assert not torch.equal(model.conv.weight, before)
    for step in (model.val_step, model.test_step):
        assert torch.equal(step(data), inputs)
        assert torch.equal(step([inputs, None]), inputs)
        assert torch.equal(step((inputs, None)), inputs)
    with pytest.raises(TypeError):
        model._run_forward(1, mode="predict")


def test_a_mock_of_what_updates(toy):
    from unittest.mock import MagicMock

    model, wrapper = toy(), MagicMock()
    wrapper.enters_nothing = False
    model.train_step({"inputs": torch.randn(1, 3, 1, 1), "data_samples": None}, wrapper)
    wrapper.optim_context.assert_called_once_with(model)
    (loss,), _ = wrapper.update_params.call_args
    assert loss.requires_grad


# -- before the model ------------------------------------------------------------------------------------------------
def test_arguments_of_the_preprocessor():
    from mmengine.model import BaseDataPreprocessor

    assert BaseDataPreprocessor()._device.type == "cpu"
    assert BaseDataPreprocessor()._non_blocking is False
    assert BaseDataPreprocessor(True)._non_blocking is True
    assert BaseDataPreprocessor("True")._non_blocking == "True"
    assert BaseDataPreprocessor().to(torch.device("cpu")).device == torch.device("cpu")
    assert BaseDataPreprocessor().cpu().device == torch.device("cpu")


def test_structures_are_kept():
    from typing import NamedTuple

    from mmengine.model import BaseDataPreprocessor

    class Fields(NamedTuple):
        a: torch.Tensor
        b: str

    one, other = torch.randn(1, 3, 5), torch.randn(1, 3, 5)
    labels = (torch.randn(1), torch.randn(1))
    process = BaseDataPreprocessor()
    out = process({"inputs": [one, other], "data_sample": list(labels)})
    assert torch.equal(out["inputs"][0], one)
    assert torch.equal(out["data_sample"][1], labels[1])
    out = process((torch.stack([one, other]), labels))
    assert isinstance(out, tuple)
    assert torch.equal(out[0][1], other)
    assert torch.equal(out[1][0], labels[0])
    out = process([Fields(one, "x"), None, "text", b"bytes", 1])
    assert isinstance(out[0], Fields)
    assert out[1:] == [None, "text", b"bytes", 1]


def test_images_are_normalised_and_padded():
    from mmengine.model import ImgDataPreprocessor
    from mmengine.structures import InstanceData

    process = ImgDataPreprocessor(mean=[127.5], std=[1], pad_size_divisor=16, pad_value=10)
    images = [torch.randn(3, 10, 10), torch.randn(3, 15, 15)]
    samples = [InstanceData(bboxes=torch.randn(5, 4)), InstanceData(bboxes=torch.randn(5, 4))]
    data = {"inputs": [image.clone() for image in images], "data_sample": [sample.clone() for sample in samples]}
    out = process(data, True)
    expected = [F.pad(image - 127.5, (0, pad, 0, pad), value=10) for image, pad in zip(images, (6, 1), strict=True)]
    assert torch.is_floating_point(out["inputs"])
    torch.testing.assert_close(out["inputs"], torch.stack(expected))
    assert all(torch.equal(a.bboxes, b.bboxes) for a, b in zip(out["data_sample"], samples, strict=True))

    process = ImgDataPreprocessor(bgr_to_rgb=True)
    out = process({"inputs": [torch.arange(3.0).view(3, 1, 1)], "data_sample": None})
    assert out["inputs"].flatten().tolist() == [2, 1, 0]
    assert out["data_sample"] is None


def test_images_in_one_tensor():
    from mmengine.model import ImgDataPreprocessor

    values = (127.5, 127.5, 127.5)
    process = ImgDataPreprocessor(mean=values, std=values, rgb_to_bgr=True, pad_size_divisor=16)
    images, labels = torch.randn(2, 3, 10, 10), [torch.randn(1), torch.randn(1)]
    out = process({"inputs": images.clone(), "data_sample": labels})
    expected = F.pad((images[:, [2, 1, 0], ...] - 127.5) / 127.5, (0, 6, 0, 6), value=0)
    assert out["inputs"].shape == (2, 3, 16, 16)
    torch.testing.assert_close(out["inputs"], expected)
    assert all(torch.equal(a, b) for a, b in zip(out["data_sample"], labels, strict=True))

    out = ImgDataPreprocessor()({"inputs": images.clone()})
    torch.testing.assert_close(out["inputs"], images)
    with pytest.raises(AssertionError, match="should be a NCHW tensor"):
        process({"inputs": torch.randn(3, 10, 10)})
    with pytest.raises(TypeError, match="Output of `cast_data` should be a dict"):
        process({"inputs": (1, 2)})


def test_settings_of_the_image_preprocessor():
    from mmengine.model import ImgDataPreprocessor

    plain = ImgDataPreprocessor()
    assert not plain._channel_conversion
    assert not hasattr(plain, "mean")
    assert not hasattr(plain, "std")
    assert (plain.pad_size_divisor, plain.pad_value) == (1, 0)
    full = ImgDataPreprocessor(bgr_to_rgb=True, mean=[0, 0, 0], std=[255, 255, 255], pad_size_divisor=16, pad_value=10)
    assert full._enable_normalize
    assert full._channel_conversion
    torch.testing.assert_close(full.mean, torch.tensor([0, 0, 0]).view(-1, 1, 1), check_dtype=False)
    torch.testing.assert_close(full.std, torch.tensor([255, 255, 255]).view(-1, 1, 1), check_dtype=False)
    assert (full.pad_size_divisor, full.pad_value) == (16, 10)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mean": (1, 2), "std": (1, 2, 3)}, "`mean` should have"),
        ({"mean": (1, 2, 3), "std": (1, 2)}, "`std` should have"),
        ({"bgr_to_rgb": True, "rgb_to_bgr": True}, "`bgr2rgb` and `rgb2bgr` cannot be set"),
        ({"bgr_to_rgb": True, "mean": [0, 0, 0], "std": None}, "mean and std should be"),
    ],
)
def test_settings_that_are_refused(settings, words):
    from mmengine.model import ImgDataPreprocessor

    with pytest.raises(AssertionError, match=words):
        ImgDataPreprocessor(**settings)


@pytest.mark.parametrize("shape", [(10, 10), (1, 10, 10)])
def test_three_means_for_a_grey_image(shape):
    from mmengine.model import ImgDataPreprocessor

    process = ImgDataPreprocessor(mean=(127.5,) * 3, std=(127.5,) * 3)
    with pytest.raises(AssertionError, match="If the mean has 3 values"):
        process({"inputs": [torch.ones(*shape), torch.ones(*shape)], "data_sample": None})


# -- views of a sample -----------------------------------------------------------------------------------------------
@pytest.fixture
def tta():
    from mmengine.model import BaseModel, BaseTTAModel
    from mmengine.registry import MODELS

    class SummingTTAModel(BaseTTAModel):
        def merge_preds(self, data_samples_list):
            return [sum(views) for views in data_samples_list]

    class ReturningModel(BaseModel):
        def forward(self, inputs, data_samples, mode="tensor"):
            return data_samples

    MODELS.register_module(module=ReturningModel)
    yield SummingTTAModel, ReturningModel
    MODELS.module_dict.pop("ReturningModel")


def test_views_are_merged(tta):
    from mmengine.dataset import pseudo_collate

    model = tta[0](tta[1]())
    as_dicts = [{"inputs": [1, 2], "data_samples": [3, 4]} for _ in range(10)]
    as_tuples = [([1, 2], [3, 4]) for _ in range(10)]
    for samples in (as_dicts, as_tuples):
        for data in DataLoader(samples, batch_size=2, collate_fn=pseudo_collate):
            assert model.test_step(data) == [7, 7]
    with pytest.raises(TypeError, match="data given by dataLoader should be"):
        model.test_step(1)


def test_what_is_wrapped(tta):
    from mmengine.model import BaseDataPreprocessor, BaseTTAModel

    kind, inner = tta
    module = inner()
    assert kind(module).module is module
    assert isinstance(kind({"type": "ReturningModel"}).module, inner)
    with_own = kind({"type": "ReturningModel"}, data_preprocessor={"type": "BaseDataPreprocessor"})
    assert isinstance(with_own.module.data_preprocessor, BaseDataPreprocessor)
    with pytest.raises(TypeError, match="The type of module"):
        kind(1)
    with pytest.raises(AssertionError, match="must implement `test_step`"):
        kind(nn.Conv2d(1, 1, 1))
    with pytest.raises(TypeError):
        BaseTTAModel(module)
    with pytest.raises(NotImplementedError):
        kind(module)(torch.ones(1))

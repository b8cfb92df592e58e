"""mmengine.model.utils, efficient_conv_bn_eval and the model wrappers."""

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

pytestmark = pytest.mark.usefixtures("mmengine")


def test_batch_norms_of_one_process_and_of_all():
    from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
    from mmengine.model.utils import _BatchNormXd

    x = torch.randn(1, 3, 10, 10)
    conv = nn.Sequential(nn.Conv2d(3, 8, 2), nn.SyncBatchNorm(8))
    conv = revert_sync_batchnorm(conv)
    assert isinstance(conv[1], _BatchNormXd)
    assert conv(x).shape == (1, 8, 9, 9)

    conv = nn.Sequential(nn.Conv2d(3, 8, 2), nn.BatchNorm2d(8))
    converted = convert_sync_batchnorm(conv)
    assert isinstance(converted[1], nn.SyncBatchNorm)
    with pytest.raises(ValueError, match="sync_bn should be"):
        convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(8)), implementation="other")
    with pytest.raises(ImportError):
        convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(8)), implementation="mmcv")


def test_tensors_of_a_batch():
    from mmengine.model import stack_batch

    one, other = torch.randn(3, 10, 10), torch.randn(3, 10, 10)
    assert torch.equal(stack_batch([one, other]), torch.stack([one, other]))
    small = torch.randn(3, 8, 6)
    batch = stack_batch([one, small], pad_size_divisor=4, pad_value=255)
    assert batch.shape == (2, 3, 12, 12)
    assert torch.equal(batch[1, :, :8, :6], small)
    assert (batch[1, :, 8:] == 255).all()
    assert (batch[1, :, :, 6:] == 255).all()
    assert (batch[0, :, 10:] == 255).all()
    volumes = [torch.randn(1, 2, 3, 4), torch.randn(1, 4, 3, 2)]
    assert stack_batch(volumes).shape == (2, 1, 4, 3, 4)
    assert stack_batch([torch.randn(3, 2), torch.randn(3, 4)]).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.ones(2, 3), "list"),
        ((torch.ones(2, 3),), "list"),
        ([], "could not be an empty list"),
        ([torch.ones(2, 3), torch.ones(3)], "dimensions of all tensors must be the same"),
    ],
)
def test_batches_that_are_refused(given, words):
    from mmengine.model import stack_batch

    with pytest.raises(AssertionError, match=words):
        stack_batch(given)


def test_dicts_are_merged():
    from mmengine.model import merge_dict

    assert merge_dict({"a": 1, "b": 2}, {"b": 3}, {}) == {"a": 1, "b": 3}
    with pytest.raises(AssertionError, match="should be a dict"):
        merge_dict({}, 1)

    class Merging(nn.Module):
        def forward(self, x):
            return merge_dict({"a": x}, {"b": x + 1})

    traced = torch.fx.symbolic_trace(Merging())
    assert traced(torch.tensor(1))["b"] == 2


def test_parameters_that_the_loss_does_not_reach():
    from mmengine.logging import MMLogger
    from mmengine.model import detect_anomalous_params

    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    texts = []
    logger = MMLogger.get_current_instance()
    logger.addFilter(lambda record: texts.append((record.levelname, record.getMessage())) or True)
    detect_anomalous_params(model[0](torch.ones(1, 1)).sum(), model=model)
    del logger.filters[-1]
    assert [level for level, _ in texts] == ["ERROR", "ERROR"]
    assert texts[0][1].startswith("1.weight with shape torch.Size([1, 1]) is not in the computational graph")


class Pairs(nn.Module):
    """Pairs of a convolution and a norm; one convolution comes twice, one norm has none."""

    def __init__(self):
        super().__init__()
        self.conv0, self.bn0 = nn.Conv1d(6, 6, 2), nn.BatchNorm1d(6)
        self.conv1, self.bn1 = nn.Conv1d(6, 6, 2), nn.BatchNorm1d(6)
        self.conv2, self.bn2 = nn.Conv1d(6, 6, 2), nn.BatchNorm1d(6)
        self.alone = nn.BatchNorm1d(6)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)

    def forward(self, x):
        x = self.bn0(self.conv0(x))
        x = self.alone(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return self.bn2(self.conv2(x))


def test_convolutions_take_their_norm_in():
    from mmengine.model.efficient_conv_bn_eval import (
        turn_on_efficient_conv_bn_eval,
        turn_on_efficient_conv_bn_eval_for_single_model,
    )

    x = torch.randn(3, 6, 10)
    for turn_on in (
        turn_on_efficient_conv_bn_eval_for_single_model,
        lambda model: turn_on_efficient_conv_bn_eval(model, "0"),
        lambda model: turn_on_efficient_conv_bn_eval(model, ["0"]),
    ):
        model = nn.Sequential(Pairs()).eval()
        expected = model(x)
        turn_on(model)
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


# -- wrappers -------------------------------------------------------------------------------------------------------
@pytest.fixture
def one_rank(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_rank")
def test_what_is_a_model_wrapper():
    from mmengine.model import (
        MMDistributedDataParallel,
        MMSeparateDistributedDataParallel,
        is_model_wrapper,
    )
    from mmengine.registry import MODEL_WRAPPERS, Registry

    model = nn.Linear(1, 1)
    kinds = [DistributedDataParallel, MMDistributedDataParallel, MMSeparateDistributedDataParallel, DataParallel]
    for kind in kinds:
        assert is_model_wrapper(kind(model))
    child = Registry("test_is_model_wrapper", parent=MODEL_WRAPPERS, scope="test_is_model_wrapper")

    class CustomModelWrapper(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.module = model

    try:
        child.register_module(module=CustomModelWrapper, force=True)
        for kind in [*kinds, CustomModelWrapper]:
            assert is_model_wrapper(kind(model))
        assert not is_model_wrapper(model)
        assert is_model_wrapper(CustomModelWrapper(model), registry=child)
        assert not is_model_wrapper(DataParallel(model), registry=child)
    finally:
        MODEL_WRAPPERS.children.pop("test_is_model_wrapper")


@pytest.fixture
def complex_model():
    from mmengine.model import BaseModel

    class ComplexModel(BaseModel):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 1, 1)
            self.conv2 = nn.Conv2d(3, 1, 1)
            self.act = nn.ReLU()

        def train_step(self, data, optim_wrapper):
            inputs = self.data_preprocessor(data, True)["inputs"]
            loss1 = self.conv1(inputs).sum()
            optim_wrapper["optim_wrapper1"].update_params(loss1)
            loss2 = self.conv2(inputs).sum()
            optim_wrapper["optim_wrapper2"].update_params(loss2)
            return {"loss1": loss1, "loss2": loss2}

        def val_step(self, data):
            return 1

        def test_step(self, data):
            return 2

        def forward(self):
            pass

    return ComplexModel


@pytest.mark.usefixtures("one_rank")
def test_a_wrapper_around_each_part(complex_model):
    from mmengine.model import MMDistributedDataParallel, MMSeparateDistributedDataParallel
    from mmengine.optim import OptimWrapper, OptimWrapperDict

    model = complex_model()
    wrapper = MMSeparateDistributedDataParallel(model)
    assert isinstance(wrapper.module.conv1, MMDistributedDataParallel)
    assert isinstance(wrapper.module.conv2, MMDistributedDataParallel)
    assert isinstance(wrapper.module.act, nn.ReLU)
    optims = OptimWrapperDict(
        optim_wrapper1=OptimWrapper(torch.optim.SGD(model.conv1.parameters(), lr=0.1), accumulative_counts=1),
        optim_wrapper2=OptimWrapper(torch.optim.SGD(model.conv2.parameters(), lr=0.2), accumulative_counts=1),
    )
    weight = wrapper.module.conv2.module.weight
    before = weight.detach().clone()
    data = {"inputs": torch.ones(1, 3, 1, 1)}
    losses = wrapper.train_step(data, optim_wrapper=optims)
    assert set(losses) == {"loss1", "loss2"}
    assert not torch.equal(weight, before)
    assert wrapper.val_step(data) == 1
    assert wrapper.test_step(data) == 2
    wrapper.train(False)
    assert not wrapper.training
    assert not model.conv1.training
    wrapper.train()
    assert wrapper.training
    assert model.conv1.training


@pytest.mark.usefixtures("one_rank")
def test_the_wrapper_of_a_whole_model():
    from unittest.mock import MagicMock

    from mmengine.logging import MMLogger
    from mmengine.model import BaseDataPreprocessor, BaseModel, MMDistributedDataParallel
    from mmengine.optim import OptimWrapper

    class Preprocessor(BaseDataPreprocessor):
        def forward(self, data, training=False):
            self.called = True
            return super().forward(data, training)

    class Net(BaseModel):
        def __init__(self):
            super().__init__(data_preprocessor=Preprocessor())
            self.conv1 = nn.Conv2d(3, 1, 1)
            self.conv2 = nn.Conv2d(1, 1, 1)

        def forward(self, inputs, data_sample=None, mode="tensor"):
            x = self.conv1(inputs)
            return {"loss": x} if mode == "loss" else self.conv2(x)

    model = Net()
    wrapper = MMDistributedDataParallel(module=model, find_unused_parameters=True, detect_anomalous_params=True)
    optim = OptimWrapper(torch.optim.SGD(wrapper.parameters(), lr=0), accumulative_counts=3)
    data = {"inputs": torch.randn(1, 3, 1, 1), "data_sample": MagicMock()}
    texts = []
    logger = MMLogger.get_current_instance()
    logger.addFilter(lambda record: texts.append(record.getMessage()) or True)
    losses = wrapper.train_step(data, optim_wrapper=optim)
    del logger.filters[-1]
    assert isinstance(losses["loss"], torch.Tensor)
    assert model.data_preprocessor.called
    assert [text.partition(" ")[0] for text in texts if "graph" in text] == ["module.conv2.weight", "module.conv2.bias"]
    assert isinstance(wrapper.val_step(data), torch.Tensor)
    assert isinstance(wrapper.test_step(data), torch.Tensor)

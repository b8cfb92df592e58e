"""The step contract, the sum of losses, preprocessing and weight initialisation."""

from __future__ import annotations

from collections import namedtuple
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError, RegistryError
from trainwright.model import BaseDataPreprocessor, BaseModel, BaseModule, ModuleDict, ModuleList, Sequential
from trainwright.registry import MODELS, WEIGHT_INITIALIZERS
from trainwright.testing.host_reads import count_host_reads


class Recorder:
    """Stands for an OptimWrapper."""

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []

    def optim_context(self, model):
        return nullcontext()

    def update_params(self, loss):
        self.losses.append(loss)
        loss.backward()


class Toy(BaseModel):
    def __init__(self, losses=None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.linear = nn.Linear(2, 1)
        self.losses = losses

    def forward(self, inputs, data_samples=None, mode="tensor"):
        out = self.linear(inputs)
        if mode == "loss":
            return {"loss": out.sum()} if self.losses is None else self.losses
        return mode, out, data_samples


def test_train_step_updates_and_reports():
    model, wrapper = Toy(), Recorder()
    log_vars = model.train_step({"inputs": torch.ones(3, 2)}, wrapper)
    assert list(log_vars) == ["loss"]
    assert log_vars["loss"] is wrapper.losses[0]
    assert model.linear.weight.grad.tolist() == [[3.0, 3.0]]


def test_steps_pass_data_and_training_to_the_preprocessor():
    class Seen(BaseDataPreprocessor):
        def forward(self, data, training=False):
            self.training_seen = training
            return self.cast_data(data)

    model = Toy(data_preprocessor=Seen())
    mode, out, samples = model.val_step({"inputs": torch.ones(1, 2), "data_samples": [1]})
    assert (mode, samples, model.data_preprocessor.training_seen) == ("predict", [1], False)
    mode, out, samples = model.test_step((torch.ones(1, 2), "s"))
    assert (mode, samples) == ("predict", "s")
    model.train_step([torch.ones(1, 2)], Recorder())
    assert model.data_preprocessor.training_seen is True
    with pytest.raises(ConfigTypeError, match="a batch must be a dict.*got int; change the collate_fn"):
        model.val_step(3)


def test_parse_losses():
    vector, first, second = torch.tensor([1.0, 3.0]), torch.tensor([[2.0]]), torch.tensor(5.0)
    total, log_vars = Toy().parse_losses({"loss_a": vector, "acc": torch.tensor(0.5), "aux.loss": [first, second]})
    assert total.item() == 9.0
    assert isinstance(log_vars, dict)
    assert {name: value.item() for name, value in log_vars.items()} == {
        "loss": 9.0,
        "loss_a": 2.0,
        "acc": 0.5,
        "aux.loss": 7.0,
    }
    assert list(log_vars)[0] == "loss"
    total, log_vars = Toy().parse_losses({"loss": second, "loss_aux": second})
    assert log_vars["loss"].item() == total.item() == 10.0


def test_parse_losses_adds_no_operation_to_one_scalar_loss():
    loss = torch.tensor(2.0)
    total, log_vars = Toy().parse_losses({"loss": loss})
    assert total is loss
    assert log_vars["loss"] is loss


def test_train_step_reads_nothing_on_the_host():
    model = Toy()
    with count_host_reads() as reads:
        model.train_step({"inputs": torch.ones(3, 2)}, Recorder())
    assert reads.total == 0


@pytest.mark.parametrize(
    ("losses", "error", "message"),
    [
        ({"cost": torch.tensor(1.0)}, ConfigError, r"no term to minimise: its keys are \['cost'\].*rename one"),
        ({"loss": 1.5}, ConfigTypeError, "loss term 'loss' of Toy must be a tensor.*got float: 1.5; wrap"),
        ({"loss": []}, ConfigTypeError, r"got list: \[\]"),
        (torch.tensor(1.0), ConfigTypeError, "must return a dict of losses, got Tensor"),
        ({"loss": torch.tensor(1.0)}, ConfigError, r"the loss of Toy does not depend on any parameter.*terms: loss"),
    ],
)
def test_unusable_losses(losses, error, message):
    with pytest.raises(error, match=message):
        Toy(losses).train_step({"inputs": torch.ones(1, 2)}, Recorder())


def test_data_preprocessor_may_be_a_config_a_module_or_none():
    assert type(Toy().data_preprocessor) is BaseDataPreprocessor
    built = Toy(data_preprocessor={"type": "BaseDataPreprocessor", "non_blocking": True}).data_preprocessor
    assert built._non_blocking
    identity = nn.Identity()
    assert Toy(data_preprocessor=identity).data_preprocessor is identity
    with pytest.raises(ConfigTypeError, match="Toy: data_preprocessor should be a dict, an nn.Module or None, got int"):
        Toy(data_preprocessor=3)


def test_a_model_without_forward_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        BaseModel()


# -- preprocessing -----------------------------------------------------------------------------------------------------
Pair = namedtuple("Pair", "image label")


class Element:
    def __init__(self) -> None:
        self.device = "cpu"

    def to(self, device, non_blocking=False):
        self.device = str(device)
        return self


def test_cast_data_keeps_the_structure():
    processor = BaseDataPreprocessor().to("meta")
    assert processor.device.type == "meta"
    image = torch.ones(2)
    cast = processor({"a": [image, "s", None, 3], "b": Pair(image, b"x"), "c": (image,), "d": Element()}, True)
    assert cast["a"][0].is_meta
    assert cast["a"][1:] == ["s", None, 3]
    assert isinstance(cast["b"], Pair)
    assert cast["b"].image.is_meta
    assert isinstance(cast["c"], tuple)
    assert cast["d"].device == "meta"


def test_a_tensor_that_is_there_already_is_not_touched():
    image = torch.ones(2)
    assert BaseDataPreprocessor().cast_data([image])[0] is image


def test_the_preprocessor_follows_the_model():
    model = Toy()
    for move in (
        lambda: model.to("meta"),
        lambda: model.to_empty(device="cpu"),
        lambda: nn.Sequential(model).to("meta"),
    ):
        move()
        assert model.data_preprocessor.device == model.linear.weight.device
    assert list(model.data_preprocessor.buffers()) == []
    assert Toy().half().data_preprocessor.device.type == "cpu"


# -- weights -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def fill():
    order: list[str] = []

    class FillForTest:
        def __init__(self, value: float) -> None:
            self.value = value

        def __call__(self, module: nn.Module) -> None:
            order.append(f"{type(module).__name__} {self.value}")
            for parameter in module.parameters():
                nn.init.constant_(parameter, self.value)

    WEIGHT_INITIALIZERS.register_module(name=["FillForTest", "FillForTestPretrained"], force=True, module=FillForTest)
    yield order
    del WEIGHT_INITIALIZERS.module_dict["FillForTest"], WEIGHT_INITIALIZERS.module_dict["FillForTestPretrained"]


class Child(BaseModule):
    def __init__(self, init_cfg=None) -> None:
        super().__init__(init_cfg)
        self.weight = nn.Parameter(torch.zeros(1))


def test_init_weights_goes_from_the_parent_to_the_children_and_ends_with_pretrained(fill, capsys):
    child = Child({"type": "FillForTest", "value": 2.0})
    cfg = [{"type": "FillForTestPretrained", "value": 3.0}, {"type": "FillForTest", "value": 1.0}]
    model = Sequential(child, nn.Linear(1, 1), init_cfg=cfg)
    assert not model.is_init
    model.init_weights()
    assert fill == ["Sequential 1.0", "Child 2.0", "Sequential 3.0"]
    assert model.is_init
    assert child.is_init
    assert child.weight.item() == 3.0
    model.init_weights()
    assert len(fill) == 3
    assert "init_weights of Sequential has run before" in capsys.readouterr().err
    assert "init_cfg=[{" in repr(model)


def test_init_cfg_is_the_modules_own_copy():
    cfg = {"type": "FillForTest", "value": 1.0}
    module = Child(cfg)
    cfg["value"] = 9.0
    assert module.init_cfg["value"] == 1.0


def test_an_unknown_initialiser_is_an_error():
    with pytest.raises(RegistryError, match="NoSuchInit"):
        Child({"type": "NoSuchInit"}).init_weights()


def test_containers():
    model = MODELS.build([{"type": "Sequential"}, {"type": "ModuleList"}])
    assert isinstance(model, Sequential)
    assert isinstance(model, nn.Sequential)
    assert len(ModuleList([Child(), Child()], init_cfg=None)) == 2
    assert list(ModuleDict({"a": Child()})) == ["a"]
    assert Sequential(nn.Linear(2, 3))(torch.ones(1, 2)).shape == (1, 3)

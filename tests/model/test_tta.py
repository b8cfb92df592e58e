"""Several views of each sample, one prediction."""

import pytest
import torch

from trainwright.base.errors import ConfigTypeError, DataError
from trainwright.model import BaseDataPreprocessor, BaseModel, BaseTTAModel
from trainwright.registry import MODELS
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config


@MODELS.register_module()
class Doubling(BaseModel):
    def __init__(self, data_preprocessor=None, n_dropped=0) -> None:
        super().__init__(data_preprocessor)
        self.factor = torch.nn.Parameter(torch.tensor(2.0))
        self.n_dropped = n_dropped

    def forward(self, inputs, data_samples=None, mode="tensor"):
        out = [self.factor * value for value in inputs]
        return out[: len(out) - self.n_dropped] if inputs[0] > 1 else out


@MODELS.register_module()
class MeanTTA(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return [sum(views) / len(views) for views in data_samples_list]


VIEWS = [[torch.tensor(1.0), torch.tensor(2.0)], [torch.tensor(3.0), torch.tensor(4.0)]]


@pytest.mark.parametrize("data", [{"inputs": VIEWS, "data_samples": [[1, 2], [3, 4]]}, [VIEWS], (VIEWS, [[1], [2]])])
def test_merging(data):
    assert [value.item() for value in MeanTTA(Doubling()).test_step(data)] == [4.0, 6.0]


def test_the_module_may_be_a_config():
    cfg = {"type": "Doubling"}
    model = MeanTTA(cfg, {"type": "BaseDataPreprocessor", "non_blocking": True})
    assert isinstance(model.module.data_preprocessor, BaseDataPreprocessor)
    assert model.module.data_preprocessor._non_blocking
    assert cfg == {"type": "Doubling"}
    with pytest.raises(NotImplementedError, match="MeanTTA has only test_step"):
        model(VIEWS)
    with pytest.raises(TypeError, match="abstract"):
        BaseTTAModel(Doubling())


def test_checkpoints_of_the_module_fit(tmp_path):
    Runner.from_cfg(toy_config(tmp_path)).train()

    @MODELS.register_module()
    class FirstView(BaseTTAModel):
        def merge_preds(self, data_samples_list):
            raise AssertionError

    cfg = toy_config(tmp_path / "test", model={"type": "FirstView", "module": {"type": "ToyModel"}})
    runner = Runner.from_cfg({**cfg, "train_cfg": None, "train_dataloader": None, "optim_wrapper": None})
    runner.load_checkpoint(str(tmp_path / "epoch_2.pth"), strict=True)
    assert list(runner.model.state_dict())[0] == "first.weight"


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"inputs": VIEWS, "data_samples": [[1, 2]]}, DataError, "'inputs' has 2, 'data_samples' has 1.*TestTimeAug"),
        ({}, DataError, "it is empty"),
        ([VIEWS, []], DataError, "item 0 has 2, item 1 has 0"),
        (3, ConfigTypeError, "should be a dict, a list or a tuple of views, got int"),
    ],
)
def test_unusable_batches(data, error, message):
    with pytest.raises(error, match=message):
        MeanTTA(Doubling()).test_step(data)


def test_unusable_modules():
    with pytest.raises(DataError, match=r"Doubling.test_step gave \[2, 1\] predictions for the 2 views"):
        MeanTTA(Doubling(n_dropped=1)).test_step([VIEWS])
    with pytest.raises(ConfigTypeError, match="The type of module in MeanTTA must be a dict or an nn.Module, got 3"):
        MeanTTA(3)
    with pytest.raises(ConfigTypeError, match="Linear in MeanTTA must implement `test_step`. Derive it from"):
        MeanTTA(torch.nn.Linear(1, 1))

"""Testing with several views of each sample."""

import pytest
import torch
from torch.utils.data import Dataset

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.config import Config
from trainwright.data import Compose
from trainwright.engine import Hook
from trainwright.hooks import PrepareTTAHook, build_runner_with_tta
from trainwright.model import BaseTTAModel
from trainwright.registry import DATASETS, MODELS, TRANSFORMS
from trainwright.runner import Runner
from trainwright.testing.toys import ToyDataset, differences, toy_config


@TRANSFORMS.register_module()
class TwoViews:
    """The sample, and the sample with its sign turned."""

    def __call__(self, sample):
        return {"inputs": [sample["inputs"], -sample["inputs"]], "label": [sample["label"]] * 2}


@TRANSFORMS.register_module()
class OneView:
    def __call__(self, sample):
        return sample


@DATASETS.register_module()
class PipelineToy(Dataset):
    def __init__(self, size=8, pipeline=()):
        self.data, self.pipeline = ToyDataset(size), Compose(pipeline)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.pipeline(self.data[index])


@MODELS.register_module()
class HookMeanTTA(BaseTTAModel):
    """The mean of the scores of both views."""

    merged = []

    def test_step(self, data):
        views = [{key: value[n] for key, value in data.items()} for n in range(2)]
        one, two = (self.module.test_step(view) for view in views)
        merged = {"scores": (one["scores"] + two["scores"]) / 2, "label": one["label"]}
        HookMeanTTA.merged.append(merged["scores"])
        return merged

    def merge_preds(self, data_samples_list):
        raise NotImplementedError


def loader():
    return {
        "dataset": {"type": "PipelineToy", "pipeline": [{"type": "OneView"}]},
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "batch_size": 4,
        "collate_fn": {"type": "default_collate"},
    }


def config(folder, **changes):
    test = {"test_dataloader": loader(), "test_cfg": {}, "test_evaluator": {"type": "Accuracy"}}
    tta = {"tta_model": {"type": "HookMeanTTA"}, "tta_pipeline": [{"type": "TwoViews"}]}
    return Config({**toy_config(folder), **test, **tta, **changes})


def expected(model):
    points = torch.stack([ToyDataset(8)[n]["inputs"] for n in range(8)])
    with torch.no_grad():
        return (model.eval()(points) + model(-points)) / 2


def test_the_merged_scores_are_tested(tmp_path):
    HookMeanTTA.merged.clear()
    cfg = config(tmp_path)
    before = cfg.pretty_text
    runner = build_runner_with_tta(cfg)
    model = runner.model
    runner.test()
    torch.testing.assert_close(torch.cat(HookMeanTTA.merged), expected(model), rtol=0, atol=1e-6)
    assert cfg.pretty_text == before
    assert runner.model is runner.strategy.model is model


def test_again_after_training_and_with_an_average(tmp_path):
    HookMeanTTA.merged.clear()
    cfg = config(tmp_path, custom_hooks=[{"type": "EMAHook", "momentum": 0.1}])
    runner = build_runner_with_tta(cfg)
    runner.train()
    first = runner.test()
    assert runner.test() == first
    average = next(hook for hook in runner.hooks if type(hook).__name__ == "EMAHook").ema_model.module
    want = expected(average)
    assert len(HookMeanTTA.merged) == 4
    for half in (HookMeanTTA.merged[:2], HookMeanTTA.merged[2:]):
        torch.testing.assert_close(torch.cat(half), want, rtol=0, atol=1e-6)
    plain = Runner.from_cfg(toy_config(tmp_path / "plain", custom_hooks=[{"type": "EMAHook", "momentum": 0.1}]))
    plain.train()
    assert not differences(dict(plain.model.state_dict()), dict(runner.model.state_dict()))


def test_a_test_that_fails_gives_the_model_back(tmp_path):
    class Fail(Hook):
        def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            raise RuntimeError("broken")

    runner = build_runner_with_tta(config(tmp_path))
    runner.register_hook(Fail())
    model = runner.model
    with pytest.raises(RuntimeError, match="broken"):
        runner.test()
    assert runner.model is runner.strategy.model is model


def test_several_sets(tmp_path):
    HookMeanTTA.merged.clear()
    cfg = config(
        tmp_path,
        test_dataloader={"a": loader(), "b": loader()},
        test_evaluator={"a": {"type": "Accuracy"}, "b": {"type": "Accuracy"}},
    )
    metrics = build_runner_with_tta(cfg).test()
    assert metrics["a/accuracy/top1"] == metrics["b/accuracy/top1"]
    assert len(HookMeanTTA.merged) == 4


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tta_model": ...}, "needs tta_model in the config, which has none"),
        ({"tta_pipeline": ...}, "needs tta_pipeline in the config, which has none"),
        ({"test_dataloader": None}, "needs the config of a loader as test_dataloader, but got None"),
        ({"test_dataloader": {"dataset": 3}}, "sets the pipeline of the dataset in test_dataloader"),
    ],
)
def test_what_is_missing(tmp_path, changes, text):
    cfg = {key: value for key, value in {**config(tmp_path).to_dict(), **changes}.items() if value is not ...}
    with pytest.raises(ConfigError, match=text):
        build_runner_with_tta(Config(cfg))


def test_what_is_no_config():
    with pytest.raises(ConfigTypeError, match="tta_cfg must be the config of a model .* but got 'HookMeanTTA'"):
        PrepareTTAHook("HookMeanTTA")

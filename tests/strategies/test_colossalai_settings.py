"""What ColossalAIStrategy accepts and refuses; none of it needs the package."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError, MissingExtraError
from trainwright.model import is_model_wrapper
from trainwright.registry import OPTIM_WRAPPERS
from trainwright.strategies import ColossalAIModelWrapper, ColossalAIOptimWrapper, ColossalAIStrategy


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "cannot have the plugin GeminiPlugin: it divides weights"),
        ({"plugin": "lowlevel-zero"}, "cannot have the plugin LowLevelZeroPlugin"),
        ({"plugin": {"type": "HybridParallelPlugin", "tp_size": 2}}, "cannot have the plugin HybridParallelPlugin"),
        ({"plugin": "TorchDPPPlugin"}, "no plugin 'TorchDPPPlugin'.*Did you mean 'TorchDDPPlugin'"),
        ({"plugin": {"stage": 2}}, "lacks type"),
        ({"config": {"fp16": {}}}, "reads no such config any more"),
        ({"mixed_precision": "fp16"}, "takes no mixed_precision='fp16'.*would not know the loss scale"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ColossalAIStrategy(**settings)


def test_a_plugin_of_another_type_is_refused() -> None:
    with pytest.raises(ConfigTypeError, match="plugin must be a name, a dict"):
        ColossalAIStrategy(plugin=3)


@pytest.mark.skipif(importlib.util.find_spec("colossalai") is not None, reason="the package is installed")
def test_without_the_package_it_says_how_to_get_it() -> None:
    with pytest.raises(MissingExtraError, match="needs the package 'colossalai'.*pip install colossalai"):
        ColossalAIStrategy(plugin="TorchDDPPlugin")


def test_the_names_of_wrapper_and_model() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    wrapper = OPTIM_WRAPPERS.build({"type": "ColossalAIOptimWrapper", "optimizer": torch.optim.SGD([parameter], 0.1)})
    assert isinstance(wrapper, ColossalAIOptimWrapper)
    with pytest.raises(ConfigError, match="has no booster yet"):
        wrapper.update_params(parameter.sum())
    model = torch.nn.Linear(2, 2)
    wrapped: Any = ColossalAIModelWrapper(model_wrapper=torch.nn.Sequential(model), model=model)
    assert is_model_wrapper(wrapped)
    assert wrapped.in_features == 2  # looked up at the model
    assert wrapped(torch.zeros(1, 2)).shape == (1, 2)
    with pytest.raises(ConfigTypeError, match="a batch must be a dict"):
        wrapped._run_forward(3, mode="loss")

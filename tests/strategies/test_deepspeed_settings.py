"""What DeepSpeedStrategy accepts and refuses; none of it needs the package."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError, MissingExtraError
from trainwright.model import MMDeepSpeedEngineWrapper, is_model_wrapper
from trainwright.optim import DeepSpeedOptimWrapper, build_optim_wrapper
from trainwright.registry import OPTIM_WRAPPERS
from trainwright.strategies import DeepSpeedStrategy
from trainwright.strategies.deepspeed_config import engine_config, half_of, stage_of, with_batch


def test_clipping_is_always_set_since_the_default_of_the_engine_clips_to_one() -> None:
    assert engine_config(None, {})["gradient_clipping"] == 0.0
    assert engine_config({"gradient_clipping": 0.5}, {"gradient_clipping": None})["gradient_clipping"] == 0.5
    assert engine_config({"gradient_clipping": 0.5}, {"gradient_clipping": 2})["gradient_clipping"] == 2.0


def test_a_config_is_a_dict_or_a_file_and_arguments_replace_its_own(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text(
        json.dumps({"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}, "amp": {"enabled": False}})
    )
    config = engine_config(str(path), {"zero_optimization": None, "steps_per_print": 7})
    assert (stage_of(config), half_of(config), config["steps_per_print"]) == (2, "bf16", 7)
    assert "amp" not in config  # what is off is no request
    assert stage_of(engine_config({"zero_optimization": {"stage": 2}}, {"zero_optimization": {"stage": 1}})) == 1
    assert stage_of(engine_config(None, {})) == 0


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"gradient_cliping": 1.0}, "no setting 'gradient_cliping'.*Did you mean 'gradient_clipping'"),
        ({"gradient_clipping": -1}, "must be a number from 0 on"),
        ({"zero_optimization": {"stage": 4}}, "must be 0, 1, 2 or 3, got 4"),
        ({"zero_optimization": 2}, "must be a dict such as dict"),
        ({"bf16": True}, "bf16 must be a dict"),
        ({"bf16": {"enabled": True}}, "bf16 needs zero_optimization"),
        ({"bf16": {"enabled": True}, "fp16": {"enabled": True}}, "both bf16 and fp16"),
        ({"amp": {"enabled": True}}, "takes no amp.*Apex"),
        ({"aio": {"block_size": 1}}, "takes no aio.*NVMe"),
        ({"optimizer": {"type": "Adam"}}, "the optimizer is optim_wrapper"),
        ({"scheduler": {"type": "WarmupLR"}}, "schedules are param_scheduler"),
        ({"tensorboard": {"enabled": True}}, "visualizer"),
        ({"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}}}, "NVMe cannot be gathered"),
        ({"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}}, "offload_param needs stage=3"),
        ({"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}, "offload_optimizer needs a stage from 1 on"),
        ({"zero_optimization": {"stage": 3, "zero_hpz_partition_size": 2}}, "zero_hpz_partition_size"),
        ({"gradient_accumulation_steps": 0}, "must be a whole number of at least 1"),
        ({"train_micro_batch_size_per_gpu": "auto"}, "must be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        engine_config(settings, {})
    with pytest.raises(ConfigError, match=text):  # at construction, with or without the package
        DeepSpeedStrategy(config=settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_fp16_needs_cuda() -> None:
    with pytest.raises(ConfigError, match="fp16 needs CUDA"):
        engine_config({"fp16": {"enabled": True}, "zero_optimization": {"stage": 1}}, {})


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        engine_config(str(tmp_path / "none.json"), {})
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigError, match="is no JSON"):
        engine_config(str(tmp_path / "bad.json"), {})
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ConfigTypeError, match="holds no settings"):
        engine_config(str(tmp_path / "list.json"), {})
    with pytest.raises(ConfigTypeError, match="dict or the path"):
        engine_config(3, {})


def test_the_sizes_of_a_batch_are_the_loaders() -> None:
    config = with_batch({"zero_optimization": {"stage": 1}}, 4, 3, 2)
    assert config["train_batch_size"] == 24
    assert (config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]) == (4, 3)
    with pytest.raises(ConfigError, match="is not the batch_size=4 of train_dataloader"):
        with_batch({"train_micro_batch_size_per_gpu": 8}, 4, 1, 2)
    with pytest.raises(ConfigError, match="train_batch_size=9 is not 8"):
        with_batch({"train_batch_size": 9}, 4, 1, 2)


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="the package is installed")
def test_without_the_package_the_extra_is_named() -> None:
    with pytest.raises(
        MissingExtraError, match=r"DeepSpeedStrategy needs the package 'deepspeed'.*trainwright\[deepspeed\]"
    ):
        DeepSpeedStrategy(zero_optimization={"stage": 2})


def test_the_wrapper_has_no_engine_of_its_own() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    wrapper = OPTIM_WRAPPERS.build(
        {
            "type": "DeepSpeedOptimWrapper",
            "optimizer": torch.optim.SGD([parameter], 0.1),
            "clip_grad": {"max_norm": 2.0},
        }
    )
    assert isinstance(wrapper, DeepSpeedOptimWrapper)
    assert wrapper.max_norm == 2.0
    with pytest.raises(ConfigError, match="has no engine yet: DeepSpeedStrategy makes it"):
        wrapper.update_params(parameter.sum())
    model = torch.nn.Linear(2, 2)
    cfg = {"type": "DeepSpeedOptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 2}
    assert build_optim_wrapper(model, cfg).max_norm == 0.0  # type: ignore[attr-defined]


class Engine:
    """As much of an engine as the steps of a model need."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.module = torch.nn.Linear(2, 2).to(dtype)
        self.seen: Any = None


@pytest.mark.parametrize(
    ("chosen", "halves"), [(None, {"a", "b"}), (["a"], {"a"}), ([], set())], ids=["all", "one", "none"]
)
def test_inputs_get_the_type_of_the_parameters(chosen: Any, halves: set[str]) -> None:
    batch = {"a": torch.ones(2), "b": [torch.ones(2), "text"], "label": torch.ones(2, dtype=torch.long)}
    model = MMDeepSpeedEngineWrapper(model=Engine(torch.bfloat16), inputs_to_half=chosen)
    assert is_model_wrapper(model)  # type: ignore[arg-type]
    cast = model.cast(batch)
    found = {name for name in ("a", "b") if "bfloat16" in str(cast[name])}
    assert found == halves
    assert cast["label"].dtype == torch.long
    assert batch["a"].dtype == torch.float32
    by_place = [*model.cast((batch["a"], batch["label"]))]
    assert by_place[1].dtype == torch.long
    whole = MMDeepSpeedEngineWrapper(model=Engine(torch.float32))
    assert whole.cast(batch) is batch
    assert whole.seen is None  # looked up at the engine

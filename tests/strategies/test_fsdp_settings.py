"""What FSDPStrategy takes of MMEngine's configs, which modules it divides, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.runner.strategy_choice import named_by_wrapper
from trainwright.strategies import FSDPStrategy
from trainwright.strategies import fsdp_settings as settings
from trainwright.strategies.fsdp_units import checkpointed, chosen, ignored_params, units


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 8), nn.Linear(8, 4)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.layers = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(4, 5)


def names(model: nn.Module, modules: list[nn.Module]) -> list[str]:
    return [name for name, module in model.named_modules() if module in set(modules)]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["Block"], ["layers.0", "layers.1"]),
        (["layers.*"], ["layers.0", "layers.1"]),
        (["layers.**"], ["layers.0.fc1", "layers.0.fc2", "layers.1.fc1", "layers.1.fc2"]),  # nothing is left of a block
        (["layers.1", "head"], ["layers.1", "head"]),
        (["*.*.fc1"], ["layers.0.fc1", "layers.1.fc1"]),
    ],
    ids=str,
)
def test_units_are_named_by_class_name_or_pattern(wanted: list[str], found: list[str]) -> None:
    model = Net()
    assert names(model, units(model, wanted, None, None, set())) == found


def test_units_by_size_and_by_a_policy_of_fsdp() -> None:
    model = Net()
    assert names(model, units(model, [], 70, None, set())) == ["layers.0", "layers.1"]
    policy = settings.function(
        {"type": "torch.distributed.fsdp.wrap.size_based_auto_wrap_policy", "min_num_params": 70}, "auto_wrap_policy"
    )
    assert policy is not None
    assert names(model, units(model, [], None, policy, set())) == ["layers.0", "layers.1"]


def test_what_is_ignored_is_in_no_unit() -> None:
    model = Net()
    ignored = ignored_params(model, ["head", "layers.0.fc1.*", "embed.weight"])
    assert ignored == {*model.head.parameters(), *model.layers[0].fc1.parameters(), model.embed.weight}
    assert names(model, units(model, ["Linear"], None, None, ignored)) == [
        "layers.0.fc2",
        "layers.1.fc1",
        "layers.1.fc2",
    ]


def test_a_name_that_names_nothing_is_an_error_with_a_near_one() -> None:
    with pytest.raises(ConfigError, match="wrap names 'Blok', and Net has no module of that class or name.*Block"):
        chosen(Net(), ["Blok"], "wrap")
    with pytest.raises(ConfigError, match=r"wrap names 'layers', a ModuleList, .* Name what is in it: 'layers\.\*'"):
        units(Net(), ["layers"], None, None, set())
    with pytest.raises(ConfigError, match="ignored names 'layer.0'.*layers.0"):
        ignored_params(Net(), ["layer.0"])


def test_where_activations_are_checkpointed() -> None:
    model = Net()
    own = units(model, ["Block"], None, None, set())
    assert checkpointed(model, None, own) == []
    assert checkpointed(model, True, own) == ["layers.0", "layers.1"]
    assert checkpointed(model, True, []) == [""]
    assert checkpointed(model, "layers.*.fc2", own) == ["layers.0.fc2", "layers.1.fc2"]
    check = settings.checkpointing_of({"check_fn": lambda module: isinstance(module, Block)})
    assert checkpointed(model, check, own) == ["layers.0", "layers.1"]
    with pytest.raises(ConfigError, match="activation_checkpointing has 'offload': it is True, names"):
        settings.checkpointing_of({"check_fn": len, "offload": True})


def test_the_arguments_of_mmengines_wrapper() -> None:
    found, told = settings.from_wrapper(
        {
            "type": "MMFullyShardedDataParallel",
            "sharding_strategy": "SHARD_GRAD_OP",
            "cpu_offload": {"offload_params": True},
            "mixed_precision": {"param_dtype": "bfloat16", "reduce_dtype": "float32", "buffer_dtype": "bfloat16"},
            "auto_wrap_policy": len,
            "ignored_modules": ["head"],
            "ignored_parameters": ["embed.weight"],
            "use_orig_params": False,
            "backward_prefetch": "BACKWARD_POST",
            "sync_module_states": True,
            "limit_all_gathers": True,
        }
    )
    assert found == {
        "reshard_after_forward": False,
        "cpu_offload": True,
        "mixed_precision": {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32},
        "wrap_policy": len,
        "ignored": ["head", "embed.weight"],
    }
    assert [text.split(" has no meaning")[0] for text in told] == [
        "mixed_precision buffer_dtype='bfloat16'",
        "model_wrapper use_orig_params=False",
        "model_wrapper backward_prefetch='BACKWARD_POST'",
    ]
    assert settings.from_wrapper({"sharding_strategy": "HYBRID_SHARD"})[0] == {
        "reshard_after_forward": True,
        "replicate": "nodes",
    }


@pytest.mark.parametrize(
    ("wrapper", "text"),
    [
        ({"auto_wrap": 1}, "model_wrapper has no setting 'auto_wrap'.*auto_wrap_policy"),
        ({"type": "MyWrapper"}, "FSDP2 shards a model in place, without a wrapper"),
        ({"process_group": object()}, "process_group=.* cannot be done: the groups are made by the strategy"),
        ({"param_init_fn": "init"}, "param_init_fn='init' cannot be done: init_on='meta'"),
        ({"sharding_strategy": "NO_SHARD"}, "shards nothing: take DDPStrategy"),
        ({"sharding_strategy": "FULL"}, "sharding_strategy='FULL' is none of .*FULL_SHARD"),
        ({"auto_wrap_policy": "my_polycy"}, "auto_wrap_policy='my_polycy' is no function"),
        ({"ignored_modules": [nn.Linear(1, 1)]}, "ignored_modules must be names of modules or parameters"),
        ({"mixed_precision": {"param_type": "bfloat16"}}, "mixed_precision has no setting 'param_type'.*param_dtype"),
        ({"mixed_precision": {"param_dtype": "bf16"}}, "param_dtype='bf16' is none of float16, bfloat16, float32"),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_done_is_refused_with_the_reason(wrapper: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        settings.from_wrapper(wrapper)


def test_layouts_of_checkpoints() -> None:
    assert [settings.layout_of(cfg) for cfg in ("full", "local", "sharded")] == ["file", "folder", "folder"]
    assert settings.layout_of({"state_dict_type": "FULL_STATE_DICT", "state_dict_config": {}}) == "file"
    assert settings.layout_of({"state_dict_config": {}}) == "folder"
    with pytest.raises(ConfigError, match="state_dict_cfg='fully' must be 'full'"):
        settings.layout_of("fully")


def test_copies_and_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainwright.dist.get_world_size", lambda: 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert settings.mesh_sizes("nodes", 1) == (2, 4)
    assert settings.mesh_sizes(2, 2) == (2, 2)
    with pytest.raises(ConfigError, match="replicate=8 .* of 1 leaves one rank of 8.*take DDPStrategy"):
        settings.mesh_sizes(8, 1)
    with pytest.raises(ConfigError, match="take TensorParallelStrategy"):
        settings.mesh_sizes(1, 8)
    with pytest.raises(ConfigError, match="replicate=3 x tensor=1 does not divide the 8 ranks"):
        settings.mesh_sizes(3, 1)


def test_settings_that_exclude_each_other() -> None:
    plan = {"size": 2, "plan": {"first": "colwise"}}
    with pytest.raises(ConfigError, match="init_on='meta' .* cannot be had with tensor_parallel"):
        FSDPStrategy(init_on="meta", tensor_parallel=plan)
    with pytest.raises(ConfigError, match="has cpu_offload=True, and model_wrapper says False: give one of the two"):
        FSDPStrategy(cpu_offload=True, model_wrapper={"cpu_offload": False})


@pytest.mark.parametrize(
    ("wrapper", "default", "found"),
    [
        ({"type": "MMFullyShardedDataParallel"}, "DDPStrategy", "FSDPStrategy"),
        ({"type": "MMFullyShardedDataParallel"}, "SingleDeviceStrategy", "SingleDeviceStrategy"),
        ({"type": "MMDistributedDataParallel"}, "DDPStrategy", "DDPStrategy"),
        (None, "DDPStrategy", "DDPStrategy"),
    ],
    ids=str,
)
def test_the_wrapper_of_a_config_chooses_the_strategy(wrapper: Any, default: str, found: str) -> None:
    assert named_by_wrapper({"model_wrapper_cfg": wrapper}, default) == found


def test_where_a_model_is_initialised() -> None:
    assert settings.init_by_parts("device", False) is None
    by_parts = settings.init_by_parts("device", True)
    assert by_parts is not None
    assert by_parts.skips
    with pytest.raises(ConfigError, match="init_on='gpu' must be 'device'"):
        settings.init_by_parts("gpu", False)
    with pytest.raises(ConfigTypeError, match="skip_init_weights must be True or False, but got 'yes'"):
        settings.init_by_parts("device", "yes")  # type: ignore[arg-type]

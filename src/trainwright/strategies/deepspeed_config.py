"""The config of a DeepSpeed engine: put together, checked, and completed with what DeepSpeed would choose otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.text import did_you_mean

# What DeepSpeed reads; it passes over any other name, so that a misspelt setting would have no effect.
_KNOWN = (
    *("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"),
    *("zero_optimization", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer", "fp16", "bf16", "amp"),
    *("aio", "activation_checkpointing", "communication_data_type", "prescale_gradients", "gradient_predivide_factor"),
    *("steps_per_print", "wall_clock_breakdown", "memory_breakdown", "dump_state", "data_types", "seq_parallel_"),
    *("sparse_gradients", "flops_profiler", "comms_logger", "disable_allgather", "graph_harvesting"),
    *("tensorboard", "wandb", "csv_monitor", "comet", "torch_autocast", "optimizer", "scheduler", "checkpoint"),
    *("data_efficiency", "curriculum_learning", "progressive_layer_drop", "eigenvalue", "compression_training"),
    *("elasticity", "autotuning", "sparse_attention", "tensor_parallel", "zenflow", "deepcompile", "nebula"),
)
# Setting: why it cannot be used here.
_REFUSED = {
    "optimizer": "the optimizer is optim_wrapper=dict(optimizer=...), so that every strategy has the same one",
    "scheduler": "schedules are param_scheduler=[...], so that every strategy has the same ones",
    "amp": "it is NVIDIA's Apex, which DeepSpeed cannot combine with ZeRO; bf16=dict(enabled=True) is half precision",
    "aio": "it is for states on NVMe, which no checkpoint of one tree can be gathered from",
    "torch_autocast": "its scaler is kept out of checkpoints; bf16=dict(enabled=True) is half precision",
    "tensorboard": "visualizer=dict(vis_backends=...) writes metrics",
    "wandb": "visualizer=dict(vis_backends=...) writes metrics",
    "csv_monitor": "visualizer=dict(vis_backends=...) writes metrics",
    "comet": "visualizer=dict(vis_backends=...) writes metrics",
    "data_efficiency": "the batches are train_dataloader's",
    "curriculum_learning": "the batches are train_dataloader's",
    "progressive_layer_drop": "it changes the arguments of forward",
    "eigenvalue": "it changes the learning rates behind the schedulers",
    "compression_training": "the weights it makes are others than those of the model",
    "elasticity": "the number of processes is the launcher's",
    "autotuning": "it ends the process",
    "tensor_parallel": "parameters would be divided in a way that no checkpoint of one tree can be gathered from",
    "zenflow": "its steps are not those of the optimizer",
    "deepcompile": "compile=True compiles the model",
    "nebula": "checkpoints are CheckpointHook's",
    "checkpoint": "checkpoints are CheckpointHook's",
}


def engine_config(config: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`config` (a dict, or the path of a JSON file) with every argument that is not None in place of its own, checked.

    ``gradient_clipping`` is always set, to 0 where nobody asked for any: DeepSpeed's own default clips to 1.
    """
    merged = {**_read(config), **{name: value for name, value in arguments.items() if value is not None}}
    for name, value in merged.items():
        if name not in _KNOWN:
            raise ConfigError(
                f"DeepSpeed has no setting {name!r}, and would pass over it.{did_you_mean(str(name), _KNOWN)}"
            )
        if name in _REFUSED and not _is_off(value):
            raise ConfigError(f"DeepSpeedStrategy takes no {name}={value!r}: {_REFUSED[name]}.")
    merged = {name: value for name, value in merged.items() if name not in _REFUSED}
    _check_precision(merged)
    merged["zero_optimization"] = _checked_zero(merged)
    merged["gradient_clipping"] = _number(merged, "gradient_clipping", 0.0)
    for name in ("gradient_accumulation_steps", "train_micro_batch_size_per_gpu"):
        value = merged.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ConfigError(f"DeepSpeed's {name} must be a whole number of at least 1, got {value!r}.")
    # Ours, or torch's, are no less sound than DeepSpeed's own; and of these some are built only where CUDA is.
    merged.setdefault("zero_allow_untested_optimizer", True)
    merged.setdefault("zero_force_ds_cpu_optimizer", False)
    return merged


def stage_of(config: Mapping[str, Any]) -> int:
    """The stage of ZeRO."""
    return int(config["zero_optimization"]["stage"])


def half_of(config: Mapping[str, Any]) -> str | None:
    """'bf16' or 'fp16' where parameters are kept in one."""
    return next((name for name in ("bf16", "fp16") if _enabled(config.get(name))), None)


def with_batch(
    config: dict[str, Any], batch_size: int | None, accumulative_counts: int, n_ranks: int
) -> dict[str, Any]:
    """The config with the sizes of a batch, which the loader and the optimizer wrapper decide."""
    given = config.get("train_micro_batch_size_per_gpu")
    if given is not None and batch_size is not None and given != batch_size:
        raise ConfigError(
            f"DeepSpeed's train_micro_batch_size_per_gpu={given} is not the batch_size={batch_size} of "
            "train_dataloader: leave it out, or make them equal."
        )
    size = given or batch_size or 1
    total = size * accumulative_counts * n_ranks
    if config.get("train_batch_size", total) != total:
        raise ConfigError(
            f"DeepSpeed's train_batch_size={config['train_batch_size']} is not {total}, which {n_ranks} processes with "
            f"batches of {size} and {accumulative_counts} of them a step make: leave it out."
        )
    sizes = {"train_micro_batch_size_per_gpu": size, "gradient_accumulation_steps": accumulative_counts}
    return {**config, **sizes, "train_batch_size": total}


def _read(config: Any) -> dict[str, Any]:
    if config is None:
        return {}
    if isinstance(config, Mapping):
        return dict(config)
    if not isinstance(config, str):
        raise ConfigTypeError(f"DeepSpeedStrategy config must be a dict or the path of a JSON file, got {config!r}.")
    try:
        with open(config, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError as error:
        raise ConfigError(f"DeepSpeedStrategy config={config!r}: there is no such file.") from error
    except ValueError as error:
        raise ConfigError(f"DeepSpeedStrategy config={config!r} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigTypeError(f"DeepSpeedStrategy config={config!r} holds no settings, but {found!r}.")
    return found


def _is_off(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, Mapping) and value.get("enabled") is False)


def _enabled(section: Any) -> bool:
    return isinstance(section, Mapping) and bool(section.get("enabled", False))


def _check_precision(config: dict[str, Any]) -> None:
    for name in ("bf16", "fp16"):
        section = config.get(name)
        if section is not None and not isinstance(section, Mapping):
            raise ConfigTypeError(f"DeepSpeed's {name} must be a dict such as dict(enabled=True), got {section!r}.")
    if _enabled(config.get("bf16")) and _enabled(config.get("fp16")):
        raise ConfigError("both bf16 and fp16 are enabled, and parameters have one type: leave one out.")
    if _enabled(config.get("fp16")) and not torch.cuda.is_available():
        raise ConfigError(
            "fp16 needs CUDA: DeepSpeed's loss scaling has no form for the CPU. bf16=dict(enabled=True) runs here too."
        )


def _checked_zero(config: dict[str, Any]) -> dict[str, Any]:
    section = config.get("zero_optimization") or {}
    if not isinstance(section, Mapping):
        raise ConfigTypeError(f"zero_optimization must be a dict such as dict(stage=2), got {section!r}.")
    zero = dict(section)
    stage = zero.setdefault("stage", 0)
    if stage not in (0, 1, 2, 3) or isinstance(stage, bool):
        raise ConfigError(f"zero_optimization stage must be 0, 1, 2 or 3, got {stage!r}.")
    for name in ("offload_optimizer", "offload_param"):
        offload = zero.get(name)
        if isinstance(offload, Mapping) and offload.get("device") == "nvme":
            raise ConfigError(
                f"zero_optimization {name}=dict(device='nvme'): states on NVMe cannot be gathered into a checkpoint "
                "that other strategies read. device='cpu' keeps them in the memory of the host."
            )
    if stage < 3 and not _is_off((zero.get("offload_param") or {}).get("device", False)):
        raise ConfigError(f"zero_optimization offload_param needs stage=3, and this is stage={stage}.")
    if stage < 1 and not _is_off((zero.get("offload_optimizer") or {}).get("device", False)):
        raise ConfigError(f"zero_optimization offload_optimizer needs a stage from 1 on, and this is stage={stage}.")
    if stage == 0 and half_of(config) is not None:
        raise ConfigError(
            f"{half_of(config)} needs zero_optimization=dict(stage=1) or more: at stage 0 DeepSpeed keeps no weights "
            "in single precision that a checkpoint could hold."
        )
    if zero.get("zero_hpz_partition_size", 1) != 1 or zero.get("mics_shard_size", -1) != -1:
        raise ConfigError(
            "zero_optimization with zero_hpz_partition_size or mics_shard_size divides parameters among some of the "
            "ranks, which checkpoints here do not follow: FSDPStrategy(replicate=...) does that."
        )
    return zero


def _number(config: Mapping[str, Any], name: str, default: float) -> float:
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ConfigError(f"DeepSpeed's {name} must be a number from 0 on (0: none), got {value!r}.")
    return float(value)

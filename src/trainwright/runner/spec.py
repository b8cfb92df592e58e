"""Every key of a config that Runner reads: the plain types it may have, its default, and what the default means."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from trainwright.base.text import brief

REQUIRED: Any = object()

DEFAULT_HOOKS: dict[str, dict[str, Any]] = {
    "runtime_info": {"type": "RuntimeInfoHook"},
    "timer": {"type": "IterTimerHook"},
    "sampler_seed": {"type": "DistSamplerSeedHook"},
    "logger": {"type": "LoggerHook"},
    "param_scheduler": {"type": "ParamSchedulerHook"},
    "checkpoint": {"type": "CheckpointHook", "interval": 1},
}
ENV_CFG: dict[str, Any] = {"dist_cfg": {"backend": "nccl"}}
RANDOMNESS: dict[str, Any] = {"seed": None}
VISUALIZER: dict[str, Any] = {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}]}

_MANY = (dict, list, tuple)
_PATH = (str, os.PathLike)


class Key(NamedTuple):
    """One row. `built`: what may be given in place of a config, in words; "" where only plain values are taken.

    `default` is that of Runner's argument; `applies` is what takes effect when that is None.
    """

    name: str
    types: tuple[type, ...]
    default: Any
    means: str
    built: str = ""
    applies: Any = None


KEYS: tuple[Key, ...] = (
    Key("model", (dict, list), REQUIRED, "must be given", "an nn.Module"),
    Key("work_dir", _PATH, REQUIRED, "must be given; the command line makes it work_dirs/<name of the config>"),
    Key("train_dataloader", _MANY, None, "no training", "a DataLoader"),
    Key("val_dataloader", _MANY, None, "no validation", "a DataLoader"),
    Key("test_dataloader", _MANY, None, "no testing", "a DataLoader"),
    Key("train_cfg", (dict,), None, "no training", "a loop"),
    Key("val_cfg", (dict,), None, "no validation", "a loop"),
    Key("test_cfg", (dict,), None, "no testing", "a loop"),
    Key("auto_scale_lr", (dict,), None, "learning rates are as written"),
    Key("optim_wrapper", (dict,), None, "no training", "an OptimWrapper"),
    Key("param_scheduler", _MANY, None, "learning rates stay as they are", "a scheduler"),
    Key("val_evaluator", _MANY, None, "no validation", "an Evaluator"),
    Key("test_evaluator", _MANY, None, "no testing", "an Evaluator"),
    Key("default_hooks", (dict,), None, "the six default hooks", applies=DEFAULT_HOOKS),
    Key("custom_hooks", (list, tuple), None, "no further hooks"),
    Key("data_preprocessor", (dict,), None, "the model's own", "an nn.Module"),
    Key("load_from", _PATH, None, "weights as the model initialises them"),
    Key("resume", (bool, *_PATH), False, "training begins anew"),
    Key("launcher", (str,), None, "one process, or those that torchrun started", applies="none"),
    Key("env_cfg", (dict,), ENV_CFG, "NCCL where several processes talk to each other"),
    Key("log_processor", (dict,), None, "LogProcessor", "a LogProcessor", {"type": "LogProcessor"}),
    Key("log_level", (int, str), "INFO", "information, warnings and errors are logged"),
    Key("visualizer", (dict,), None, "scalars go to JSON lines", "a Visualizer", VISUALIZER),
    Key("default_scope", (str,), "mmengine", "names are looked up in this package's registries"),
    Key("randomness", (dict,), RANDOMNESS, "a seed is drawn"),
    Key("experiment_name", (str,), None, "the name of the config file and the time stamp"),
    Key("resume_cfg", (dict,), None, "a resume takes everything and must be exact"),
    Key("trust_checkpoint", (bool,), False, "a checkpoint never runs code"),
    Key(
        "strategy",
        (dict,),
        None,
        "one device, or DDPStrategy",
        "a strategy",
        {"type": "SingleDeviceStrategy"},
    ),
    Key("compile", (bool, dict), None, "nothing is compiled", applies=False),
    Key("fast_dev_run", (bool, int), False, "the whole training"),
)
NAMES = tuple(key.name for key in KEYS)

# Keys of a config file that no argument of Runner has, and that something else reads.
SURGERY_KEYS = ("activation_checkpointing", "efficient_conv_bn_eval")
OTHER_KEYS = (
    *("custom_imports", "runner_type", "model_wrapper_cfg", "vis_backends", "tta_model", "tta_pipeline"),
    *("sync_bn", "find_unused_parameters"),
    *SURGERY_KEYS,
)

_WORDS: dict[type, str] = {
    dict: "a dict",
    list: "a list",
    tuple: "a tuple",
    str: "a string",
    bool: "True or False",
    int: "a whole number",
    os.PathLike: "a path",
}
_PLAIN = (str, bytes, bool, int, float, complex, dict, list, tuple, set, frozenset)


def runner_defaults() -> dict[str, Any]:
    """What takes effect for each key that a config leaves out; None where that is nothing at all."""
    given = {key.name: key.default if key.applies is None else key.applies for key in KEYS}
    return {name: copy.deepcopy(value) for name, value in given.items() if value is not REQUIRED}


def default_strategy(spec: Mapping[str, Any]) -> str:
    """The strategy where none is named: one device, or with a launcher the whole model on every rank."""
    return "SingleDeviceStrategy" if spec["launcher"] in (None, "none") else "DDPStrategy"


def ddp_settings(cfg: Any) -> dict[str, Any]:
    """Arguments of DDPStrategy in the places where MMEngine's configs have them."""
    wrapper = cfg.get("model_wrapper_cfg")
    if wrapper is None and cfg.get("find_unused_parameters"):
        wrapper = {"find_unused_parameters": True}
    settings = {"model_wrapper": wrapper, "sync_bn": cfg.get("sync_bn")}
    return {name: value for name, value in settings.items() if value is not None}


def wrong_type(key: Key, value: Any) -> str:
    """What is wrong with the type of a key's value; "" when nothing is. An object of a class passes as built, and None
    stands for the default.
    """
    if value is None and key.default is not REQUIRED:
        return ""
    allowed = bool in key.types if isinstance(value, bool) else isinstance(value, key.types)
    if allowed or (key.built and value is not None and not isinstance(value, _PLAIN)):
        return ""
    words = [*([key.built] if key.built else []), *(_WORDS[kind] for kind in key.types)]
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    # MMEngine's words, for whoever looks for them
    verb = "`param_scheduler` should be" if key.name == "param_scheduler" else "must be"
    return f"{verb} {listed}, but got {brief(value)}."

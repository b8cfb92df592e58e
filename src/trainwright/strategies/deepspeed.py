"""Training inside a DeepSpeed engine: ZeRO, stages 0 to 3 (Rajbhandari et al. 2020)."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.base.optional import require
from trainwright.checkpoint import load_weights
from trainwright.checkpoint.weights import MIN_LOADED, STRIP_MODULE, ReviseKeys
from trainwright.model import MMDeepSpeedEngineWrapper
from trainwright.optim import BaseOptimWrapper, DeepSpeedOptimWrapper
from trainwright.optim.forms import in_own_form
from trainwright.registry import STRATEGIES
from trainwright.state import weights_on_host
from trainwright.strategies.deepspeed_config import engine_config, half_of, stage_of, with_batch
from trainwright.strategies.deepspeed_state import EngineState
from trainwright.strategies.ranks import RanksStrategy

# Optimizer: why an engine cannot have it as it is.
_OPTIMIZERS = {
    "OnebitAdam": "it keeps errors of compressed messages on each rank, which no checkpoint holds",
    "OnebitLamb": "it keeps errors of compressed messages on each rank, which no checkpoint holds",
    "ZeroOneAdam": "it keeps errors of compressed messages on each rank, which no checkpoint holds",
    "Adagrad": "above stage 0 DeepSpeed puts one of its own in its place, which schedules do not reach",
    "LBFGS": "above stage 0 it would see flat parts of the parameters instead of the whole",
}


@STRATEGIES.register_module()
class DeepSpeedStrategy(RanksStrategy):
    """Training by a DeepSpeed engine (API of mmengine's DeepSpeedStrategy).

    `config`: the settings of DeepSpeed, a dict or the path of a JSON file; the arguments after it replace its own. A
    setting that DeepSpeed does not know, or that another part of a run decides, is refused. `inputs_to_half`: see
    MMDeepSpeedEngineWrapper. `exclude_frozen_parameters` leaves these out of checkpoints, which are then no longer
    whole. Optimizer, schedules and batches are those of the run; gradients are clipped only where that is asked for.

    The engine is made before the first step of a training, from the weights as they are then. Evaluation without a
    training needs none, and runs the model itself. A checkpoint is that of one process: any strategy and any number of
    ranks reads it, and this one reads theirs. :meth:`save_engine` writes DeepSpeed's own.
    """

    def __init__(
        self,
        *,
        config: str | dict[str, Any] | None = None,
        zero_optimization: dict[str, Any] | None = None,
        gradient_clipping: float | None = None,
        fp16: dict[str, Any] | None = None,
        inputs_to_half: list[int | str] | None = None,
        bf16: dict[str, Any] | None = None,
        amp: dict[str, Any] | None = None,
        activation_checkpointing: dict[str, Any] | None = None,
        aio: dict[str, Any] | None = None,
        train_micro_batch_size_per_gpu: int | None = None,
        gradient_accumulation_steps: int | None = None,
        steps_per_print: int = 10000000000000,
        exclude_frozen_parameters: bool | None = None,
        **kwargs: Any,
    ) -> None:
        arguments = {
            "zero_optimization": zero_optimization,
            "gradient_clipping": gradient_clipping,
            "fp16": fp16,
            "bf16": bf16,
            "amp": amp,
            "activation_checkpointing": activation_checkpointing,
            "aio": aio,
            "train_micro_batch_size_per_gpu": train_micro_batch_size_per_gpu,
            "gradient_accumulation_steps": gradient_accumulation_steps,
            "steps_per_print": steps_per_print,
        }
        self.config = engine_config(config, arguments)
        self.stage, self._half = stage_of(self.config), half_of(self.config)
        self._inputs_to_half = inputs_to_half
        self.exclude_frozen_parameters = exclude_frozen_parameters
        self._deepspeed = imported_deepspeed()
        self._state: EngineState | None = None
        super().__init__(**kwargs)

    # bring-up ---------------------------------------------------------------------------------------------------

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        return model.to(self.device)

    @property
    def unwrapped_model(self) -> nn.Module:
        """The user's module."""
        model: Any = self.model
        return model.module if isinstance(model, MMDeepSpeedEngineWrapper) else model  # type: ignore[no-any-return]

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> BaseOptimWrapper:
        """A DeepSpeedOptimWrapper, also where the config names no type; the strategy's own settings go to it."""
        if isinstance(optim_wrapper, dict):
            optim_wrapper = {"type": "DeepSpeedOptimWrapper", **optim_wrapper}
            steps = self.config.get("gradient_accumulation_steps")
            if steps is not None:
                self._set(optim_wrapper, "accumulative_counts", steps, "gradient_accumulation_steps")
            clipping = self.config["gradient_clipping"]
            if clipping:
                self._set(optim_wrapper, "clip_grad", {"max_norm": clipping}, "gradient_clipping")
        wrapper = super().build_optim_wrapper(optim_wrapper, model)
        self._check(wrapper)
        return wrapper

    @staticmethod
    def _set(cfg: dict[str, Any], name: str, value: Any, setting: str) -> None:
        if cfg.setdefault(name, value) != value:
            raise ConfigError(f"optim_wrapper {name}={cfg[name]!r} and DeepSpeed's {setting} say different things.")

    def _check(self, wrapper: Any) -> None:
        if not isinstance(wrapper, DeepSpeedOptimWrapper):
            raise ConfigError(
                f"DeepSpeedStrategy needs one DeepSpeedOptimWrapper, got {type(wrapper).__name__}: its engine has one "
                "optimizer, does backward and step itself, and has half precision as bf16=dict(enabled=True). Leave "
                "optim_wrapper's type out."
            )
        kind = type(wrapper.optimizer).__name__
        if kind in _OPTIMIZERS and (self.stage or kind not in ("Adagrad", "LBFGS")):
            raise ConfigError(f"DeepSpeedStrategy cannot have the optimizer {kind}: {_OPTIMIZERS[kind]}.")
        options = wrapper.clip_grad_kwargs or {}
        beyond = sorted(set(options) - {"max_norm"}) or (
            [wrapper.grad_name] if wrapper.grad_name != "grad_norm" else []
        )
        if self.stage and options and beyond and not (beyond == ["norm_type"] and options["norm_type"] == 2):
            raise ConfigError(
                f"clip_grad={options!r} with type {wrapper.grad_name[5:]!r}: from ZeRO stage 1 on DeepSpeed clips, by "
                "the 2-norm over all gradients and nothing else. Write clip_grad=dict(max_norm=...)."
            )

    def attach_optim_wrapper(self, optim_wrapper: Any) -> BaseOptimWrapper:
        """Build the wrapper; a second one needs another strategy."""
        if self._state is not None:
            raise ConfigError(
                "DeepSpeedStrategy has an engine already, which keeps the optimizer that it was made with."
            )
        return super().attach_optim_wrapper(optim_wrapper)

    def check_hooks(self, hooks: Iterable[Any]) -> None:
        """ConfigError for a hook that would look at weights or gradients which are not there."""
        for hook in hooks:
            reason = self._refusal(hook)
            if reason:
                raise ConfigError(f"{type(hook).__name__} does not work under DeepSpeedStrategy here: {reason}.")
            if self.stage and type(hook).__name__ in ("GradNormHook", "LossGuardHook"):
                # The engine computes the norm in any case; a clipping to 0, which is none, has the wrapper report it.
                self.optim_wrapper.clip_grad_kwargs = self.optim_wrapper.clip_grad_kwargs or {"max_norm": 0.0}  # type: ignore[attr-defined]

    def _refusal(self, hook: Any) -> str | None:
        name, stage = type(hook).__name__, self.stage
        weights = f"at ZeRO stage {stage} no rank has whole weights between steps" if stage == 3 else None
        if name == "EMAHook" and weights is None and self._half is not None:
            weights = f"an average of {self._half} weights would stand still, since its steps are below their precision"
        if name in ("EMAHook", "DesyncCheckHook"):
            return weights
        if name == "FreezeHook" and stage and (hook.begin or hook.end is not None):
            return (
                "from ZeRO stage 1 on the engine notes once which parameters are trained. Freeze from the beginning on"
            )
        inner = name == "GradNormHook" and (hook.modules or hook.weights or hook.norm_type != 2.0)
        if inner and stage:
            return "from ZeRO stage 1 on gradients lie in buffers of the engine, which says their 2-norm and no other"
        return None

    def compile(self, compile: dict[str, Any] | bool) -> None:
        """Compile the user's module, inside the engine."""
        if compile and self.stage == 3:
            raise ConfigError(
                "compile does not work at ZeRO stage 3, where each module fetches its weights: use stage 2."
            )
        if isinstance(compile, dict) and compile.get("target") == "train_step":
            raise ConfigError("compile target 'train_step' has no effect: the engine does the step. Compile 'forward'.")
        self.compile_model(self.unwrapped_model, compile)

    # the engine -------------------------------------------------------------------------------------------------

    def train_step_function(self) -> Callable[[Any], dict[str, torch.Tensor]]:
        """What a span calls for each batch; the engine is made here."""
        self.start_engine()
        return super().train_step_function()

    def train_step(self, data: Any) -> dict[str, torch.Tensor]:
        """One step of the engine."""
        self.start_engine()
        return super().train_step(data)

    def start_engine(self) -> None:
        """Make the engine of the model and the optimizer as they are now, unless it is there. All ranks call this."""
        if self._state is not None:
            return
        wrapper: Any = self.optim_wrapper
        module, optimizer = self.unwrapped_model, wrapper.optimizer
        groups = [list(group["params"]) for group in optimizer.param_groups]
        for number, params in enumerate(groups):
            if self.stage and not any(param.requires_grad for param in params):
                raise ConfigError(
                    f"group {number} of the optimizer has no parameter that is trained, and DeepSpeed cannot divide "
                    "it: leave it out by paramwise_cfg, or use stage 0."
                )
        weights = deepcopy(module.state_dict()) if self._half else None  # the engine would round them first
        saved = optimizer.state_dict()
        optimizer.state.clear()
        size = self.dispatch_kwargs.get("train_micro_batch_size_per_gpu")
        config = with_batch(self.config, size, wrapper._accumulative_counts, self.world_size)
        config["gradient_clipping"] = wrapper.max_norm if self.stage else 0.0  # at stage 0 the wrapper clips
        engine = self._initialize(module, optimizer, config)
        self._state = EngineState(engine, groups)
        if weights is not None:
            self._state.put_weights(lambda whole: whole.load_state_dict(weights))
        if saved["state"]:
            self._state.put_optimizer(saved)
        wrapper.model = engine
        self.model = MMDeepSpeedEngineWrapper(model=engine, inputs_to_half=self._inputs_to_half)  # type: ignore[assignment]

    def _initialize(self, module: nn.Module, optimizer: torch.optim.Optimizer, config: dict[str, Any]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what DeepSpeed asks of torch
            self._deepspeed.init_distributed(
                dist_backend=torch.distributed.get_backend(), auto_mpi_discovery=False, dist_init_required=False
            )
            engine, *_ = self._deepspeed.initialize(
                model=module, optimizer=optimizer, config=_plain(config), dist_init_required=False
            )
        return engine

    def trainable_changed(self) -> None:
        """Above stage 0 the engine has noted which parameters are trained."""
        if self._state is not None and self.stage:
            raise ConfigError(
                "DeepSpeed's engine notes once, before the first step, which parameters are trained; from ZeRO stage 1 "
                "on none can be frozen or thawed later. Use stage 0, or DDPStrategy."
            )

    def grad_sync(self, on: bool) -> AbstractContextManager[Any]:
        """Nothing to enter: the optimizer wrapper tells the engine."""
        return nullcontext()

    def eval_losses(self, data: Any) -> dict[str, torch.Tensor]:
        """The loss terms of one batch, and their sum as ``loss``."""
        model: Any = self.model
        if not isinstance(model, MMDeepSpeedEngineWrapper):
            return super().eval_losses(data)
        module: Any = self.unwrapped_model
        losses = model._run_forward(model.cast(module.data_preprocessor(data, False)), mode="loss")
        return module.parse_losses(losses)[1]  # type: ignore[no-any-return]

    # state ------------------------------------------------------------------------------------------------------

    def model_state_dict(self) -> dict[str, Any]:
        """Whole weights and buffers, of single precision, in the memory of rank 0's host; the other ranks have their
        shapes only, but within ``dist.keeping_shards()``. All ranks call this."""
        if self._state is None:
            state = super().model_state_dict()
        else:
            whole = self._state.weights()
            state = weights_on_host(whole, self.copies) if self._keeps else _shapes(whole)
        if self.exclude_frozen_parameters:
            frozen = {name for name, param in self.unwrapped_model.named_parameters() if not param.requires_grad}
            state = OrderedDict((name, value) for name, value in state.items() if name not in frozen)
        return state

    def optim_state_dict(self) -> dict[str, Any]:
        """The state of the optimizer in whole tensors, by number of the parameter, as :meth:`model_state_dict`."""
        if self._state is None:
            return super().optim_state_dict()
        state = self._state.optimizer()
        if self.optim_wrapper.base_param_settings is not None:
            state["base_param_settings"] = dict(self.optim_wrapper.base_param_settings)
        if not self._keeps:
            state["state"] = {number: _shapes(values) for number, values in state["state"].items()}
        return state

    @property
    def _keeps(self) -> bool:
        """Whether this rank keeps gathered tensors, and not their shapes alone."""
        return self.rank == 0 or dist.keeps_shards()

    def load_model_state_dict(
        self,
        state_dict: dict[str, Any],
        *,
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_MODULE,
        min_loaded: float = MIN_LOADED,
    ) -> None:
        """Load weights, which every rank has as a whole; see ``checkpoint.load_weights``."""
        strict = strict and not self.exclude_frozen_parameters
        if self._state is None:
            load_weights(self.unwrapped_model, state_dict, strict, revise_keys, min_loaded)
        else:
            self._state.put_weights(lambda whole: load_weights(whole, state_dict, strict, revise_keys, min_loaded))

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take this rank's parts out of whole tensors."""
        if self._state is None:
            super().load_optim_state_dict(state_dict)
            return
        state = dict(state_dict)
        base = state.pop("base_param_settings", None)
        state.pop("loss_scaler", None)
        self._state.put_optimizer(in_own_form(self.optim_wrapper.optimizer, state))
        if base is not None:
            self.optim_wrapper.base_param_settings = dict(base)

    def held_gradients(self) -> dict[str, torch.Tensor]:
        """Those of an open accumulation window; from ZeRO stage 1 on they lie in buffers of the engine, and none is
        saved: a resume begins the window anew, and says so."""
        return {} if self.stage else super().held_gradients()

    def drop_gradients(self) -> None:
        super().drop_gradients()
        if self._state is not None and self.optim_wrapper.holds_in_engine:  # type: ignore[attr-defined]
            raise ConfigError(
                "the state of another time cannot be put in place inside an accumulation window from ZeRO stage 1 on: "
                "its gradients lie in buffers of the engine. Use stage 0, or accumulative_counts=1."
            )

    def obstacle_to_going_back(self) -> str | None:
        """From ZeRO stage 1 on that may be inside an accumulation window."""
        wrapper: Any = self.optim_wrapper
        if not self.stage or wrapper._accumulative_counts == 1:
            return None
        return (
            f"with accumulative_counts={wrapper._accumulative_counts} that may be inside an accumulation window, whose "
            "gradients lie in buffers of DeepSpeed's engine from ZeRO stage 1 on"
        )

    def save_engine(self, folder: str | os.PathLike[str], tag: str | None = None) -> None:
        """Write a checkpoint of DeepSpeed's own, for its tools. All ranks call this."""
        if self._state is None:
            raise ConfigError("there is no engine yet whose checkpoint could be saved: start_engine() makes it.")
        model: Any = self.model
        kwargs = {"exclude_frozen_parameters": bool(self.exclude_frozen_parameters)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.model.save_checkpoint(os.fspath(folder), tag=tag, **kwargs)


def _plain(value: Any) -> Any:
    """Settings in plain dicts and lists: they go into DeepSpeed's own checkpoints."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _shapes(values: Any) -> Any:
    """A dict with its larger tensors on the meta device: shapes and types without memory."""
    shapes = type(values)(
        (name, value.to("meta") if isinstance(value, torch.Tensor) and value.dim() else value)
        for name, value in values.items()
    )
    if hasattr(values, "_metadata"):
        vars(shapes)["_metadata"] = values._metadata
    return shapes


def imported_deepspeed() -> Any:
    """The package; MissingExtraError without it. Where there is no CUDA it is told so: it would search for long."""
    had = os.environ.get("DS_ACCELERATOR")
    if had is None and not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about itself
            package = require("deepspeed", "deepspeed", "DeepSpeedStrategy")
            require("deepspeed.accelerator", "deepspeed", "DeepSpeedStrategy").get_accelerator()
        # Messages through shared memory on the CPU: all ranks would wait for minutes while a compiler builds it, and
        # for ever where a build was killed. Gloo does without.
        package.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    finally:
        if had is None:
            os.environ.pop("DS_ACCELERATOR", None)
    return package

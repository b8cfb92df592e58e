"""Every rank keeps a part of each parameter, gradient and optimizer state: FSDP2's fully_shard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean
from trainwright.model import BaseModel, turn_on_activation_checkpointing
from trainwright.optim import BaseOptimWrapper
from trainwright.registry import STRATEGIES
from trainwright.state import rng
from trainwright.strategies import fsdp_gradients
from trainwright.strategies import fsdp_settings as settings
from trainwright.strategies.fsdp_optim import agree_on_overflow, step_one_by_one
from trainwright.strategies.fsdp_units import checkpointed, ignored_params
from trainwright.strategies.fsdp_units import units as units_of
from trainwright.strategies.mesh import device_mesh
from trainwright.strategies.ranks import RanksStrategy
from trainwright.strategies.sharded_state import ShardedState, clip_sharded
from trainwright.strategies.tensor_parallel import TensorGroups

_SETTINGS: dict[str, Any] = {
    "wrap": [],
    "wrap_policy": None,
    "min_params": None,
    "ignored": [],
    "mixed_precision": None,
    "reshard_after_forward": True,
    "cpu_offload": False,
    "replicate": 1,
}


@STRATEGIES.register_module()
class FSDPStrategy(ShardedState, RanksStrategy):
    """Parameters, gradients and optimizer states in parts, one a rank, by ``torch.distributed.fsdp.fully_shard``.

    A unit is gathered, used and let go as one. `wrap` names those of the model, by class, by name, or by a pattern of
    it such as ``'layers.*'``, in which a ``*`` is one part of a name; `min_params`: modules with so many parameters
    that are in no unit yet become one; `wrap_policy`: a function as FSDP's ``auto_wrap_policy``. What is left is the
    model's own unit. `ignored` names modules and parameters that stay whole on every rank.

    `mixed_precision`: ``param_dtype``, ``reduce_dtype``, ``output_dtype`` ('bfloat16', ...), ``cast_forward_inputs``.
    `reshard_after_forward` False keeps units whole until the backward: more memory, fewer messages. `cpu_offload`:
    parts lie in the memory of the host. `replicate`: so many groups of ranks have a copy each, and divide that (HSDP);
    'nodes' is a copy a machine. `tensor_parallel`: ``dict(size=2, plan={...})`` divides layers over groups of
    neighbouring ranks first, which see the same samples; see :func:`parallelize`. `activation_checkpointing`: True for
    the units, names as in `wrap`, or ``dict(check_fn=...)``. `forward_methods`: methods of the model besides
    ``forward`` that compute with its weights and are called from outside; overridden ``val_step`` and ``test_step`` are
    added.

    `init_on` 'meta' builds and initialises the model without any rank ever having the whole of it, with the numbers
    that one process would have; `skip_init_weights` initialises nothing: weights are NaN until they are loaded.

    A checkpoint is a step folder, into which each rank writes its part of every tensor; as a single file
    (``state_dict_cfg='full'`` or ``CheckpointHook(layout='file')``) rank 0 gathers the whole. Any strategy and any
    number of ranks reads either. `model_wrapper` takes the arguments of MMEngine's MMFullyShardedDataParallel.
    """

    layout = "folder"
    _copies: Any

    def __init__(
        self,
        *,
        wrap: Sequence[str] = (),
        wrap_policy: Any = None,
        min_params: int | None = None,
        ignored: Sequence[str] = (),
        mixed_precision: dict[str, Any] | None = None,
        reshard_after_forward: bool = True,
        cpu_offload: bool = False,
        replicate: int | str = 1,
        tensor_parallel: dict[str, Any] | None = None,
        activation_checkpointing: bool | str | Sequence[str] | dict[str, Any] | None = None,
        forward_methods: Sequence[str] = (),
        init_on: str = "device",
        skip_init_weights: bool = False,
        state_dict_cfg: str | dict[str, Any] = "local",
        model_wrapper: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        given = {
            **{"wrap": [wrap] if isinstance(wrap, str) else list(wrap), "wrap_policy": wrap_policy},
            **{"min_params": min_params, "ignored": [ignored] if isinstance(ignored, str) else list(ignored)},
            **{"mixed_precision": mixed_precision, "reshard_after_forward": reshard_after_forward},
            **{"cpu_offload": cpu_offload, "replicate": replicate},
        }
        told = self._take_settings(given, model_wrapper)
        self._methods = list(forward_methods)
        self._checkpointing = settings.checkpointing_of(activation_checkpointing)
        self.layout = settings.layout_of(state_dict_cfg)
        self._parts = settings.init_by_parts(init_on, skip_init_weights)
        self._tensor = TensorGroups(tensor_parallel)
        if self._tensor.size > 1 and self._ignored:
            raise ConfigError(
                f"FSDPStrategy ignored={self._ignored!r} cannot be had with tensor_parallel, which replaces the "
                "parameters that would stay whole: leave one of the two out."
            )
        if self._tensor.size > 1 and self._parts is not None:
            raise ConfigError(
                "FSDPStrategy init_on='meta' (or skip_init_weights) cannot be had with tensor_parallel, whose styles "
                "divide numbers that must be there: leave one of the two out."
            )
        super().__init__(**kwargs)
        for text in told:
            self.logger.warning(text)
        self._copies, self._shards = settings.mesh_sizes(self._copies, self._tensor.size)

    def _take_settings(self, given: dict[str, Any], model_wrapper: dict[str, Any] | None) -> list[str]:
        """Settings as given, or as MMEngine's ``model_wrapper`` has them; returns what is to be told about these."""
        found, told = settings.from_wrapper(model_wrapper or {})
        for name, value in found.items():
            if given[name] not in (_SETTINGS[name], value):
                raise ConfigError(
                    f"FSDPStrategy has {name}={given[name]!r}, and model_wrapper says {value!r}: give one of the two."
                )
        given = {**given, **found}
        self._wrap, self._min_params = given["wrap"], given["min_params"]
        self._policy = settings.function(given["wrap_policy"], "wrap_policy")
        self._ignored: list[str] = given["ignored"]
        self._precision = settings.precision_of(given["mixed_precision"] or {})
        self._reshards, self._offloads = given["reshard_after_forward"], given["cpu_offload"]
        self._copies = given["replicate"]
        return told

    def _set_data_axis(self) -> None:
        self._tensor.set_data_axis()

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """A module as it is, or the one that a config names; with ``init_on='meta'`` part by part."""
        if self._parts is None:
            return super().build_model(model)
        if isinstance(model, nn.Module):
            raise ConfigError(
                "FSDPStrategy init_on='meta' (or skip_init_weights) builds the model by itself, and was given one that "
                f"is there: give the config of {type(model).__name__}, or leave the setting out."
            )
        if self.diff_rank_seed:
            streams = [rng.capture()]
            self._own_streams = streams[0]
            dist.broadcast_object_list(streams)
            rng.restore(streams[0])
        with self._parts:
            built = super().build_model(model)
        self._parts.adopt(built)
        return built

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        from torch.distributed import fsdp

        apart = ignored_params(model, self._ignored)
        units = units_of(model, self._wrap, self._min_params, self._policy, apart)
        methods = self._forward_methods(model)
        turn_on_activation_checkpointing(model, checkpointed(model, self._checkpointing, units))
        self._initialise(model)
        tensor = self._tensor.size
        self._mesh = device_mesh(self.device.type, self._copies, self._shards, tensor)
        self._tensor.divide(model, self._mesh, units)
        options: dict[str, Any] = {
            "mesh": self._mesh["replicate", "shard"] if self._copies > 1 else self._mesh["shard"],
            "mp_policy": fsdp.MixedPrecisionPolicy(**self._precision),
            "ignored_params": ignored_params(model, self._ignored) or None,  # as they are by now
        }
        if self._offloads:
            options["offload_policy"] = fsdp.CPUOffloadPolicy(pin_memory=self.device.type == "cuda")
        for unit in units:
            fsdp.fully_shard(unit, reshard_after_forward=self._reshards, **options)
        # Of the outermost unit torch knows that the backward begins with it: it is kept unless that is refused.
        fsdp.fully_shard(model, reshard_after_forward=None if self._reshards else False, **options)
        for name in methods:
            fsdp.register_fsdp_forward_method(model, name)
        self._sharded: list[Any] = [m for m in model.modules() if isinstance(m, fsdp.FSDPModule)]
        if self._parts is not None:
            self._parts.fill(model, self._outside, self.device)
        self._average_apart(p for p in model.parameters() if not dist.is_sharded(p))
        return model

    def _initialise(self, model: nn.Module) -> None:
        """``init_weights`` on whole tensors, as in one process; the same result on all ranks."""
        self.model = model
        if self._parts is None:
            model.to(self.device)
            super().init_model_weights()
            return
        with self._parts:  # equal on all ranks by how it is made
            self._init_model_weights(self.unwrapped_model)
        self._parts.adopt(model)
        if self.diff_rank_seed:
            rng.restore(self._own_streams)
        for buffer in model.buffers():
            dist.broadcast(buffer)
        self._outside = self._parts.put_outside(model)

    def _average_apart(self, whole: Iterable[nn.Parameter]) -> None:
        """Have the gradients of parameters that stay whole averaged over the ranks, as those of the others are."""
        self._exchanges = True
        self._apart = list(whole)

        def average(param: nn.Parameter) -> None:
            if self._exchanges and param.grad is not None:
                dist.all_reduce(param.grad, "mean")

        for param in self._apart:
            if param.is_floating_point() or param.is_complex():
                is_trained = param.requires_grad  # a frozen one takes no hook, and may be thawed on the way
                param.requires_grad_(True).register_post_accumulate_grad_hook(average)
                param.requires_grad_(is_trained)

    def _forward_methods(self, model: nn.Module) -> list[str]:
        for name in self._methods:
            if not callable(getattr(model, name, None)):
                raise ConfigError(
                    f"FSDPStrategy forward_methods names {name!r}, and {type(model).__name__} has no such method."
                    f"{did_you_mean(name, [n for n in dir(model) if not n.startswith('_')])}"
                )
        steps = [n for n in ("val_step", "test_step") if getattr(type(model), n, None) is not getattr(BaseModel, n)]
        return [*self._methods, *(name for name in steps if hasattr(model, name) and name not in self._methods)]

    def init_model_weights(self) -> None:
        """Nothing: it was done before the weights were divided."""

    def attach_optim_wrapper(self, optim_wrapper: Any) -> BaseOptimWrapper:
        """Build the wrapper; it clips by the norm of whole gradients, and exchanges none inside a window."""
        super().attach_optim_wrapper(optim_wrapper)
        self._connect_optimizers(clip_sharded)
        for wrapper in self._wrappers():
            wrapper.held_grads = self._gradients_held
            agree_on_overflow(wrapper)
            step_one_by_one(wrapper.optimizer)
        self._tensor.watch(self.model, self._wrappers(), self._mesh)
        return self.optim_wrapper

    def grad_sync(self, on: bool) -> AbstractContextManager[Any]:
        """From now on gradients of a backward are (``on``) or are not divided among the ranks: FSDP asks during the
        backward, which comes after the context."""
        model: Any = self.model
        model.set_requires_gradient_sync(on)
        self._exchanges = on
        return nullcontext()

    def compile(self, compile: dict[str, Any] | bool) -> None:
        """Compile the forward of each unit, or of the model where it is the only one: what gathers them stays outside.
        Another ``target`` is a method of the model."""
        inner = [unit for unit in self._sharded if unit is not self.model]
        if isinstance(compile, dict) and compile.get("target", "forward") != "forward":
            inner = []
        for unit in inner or [self.model]:
            self.compile_model(unit, compile)

    # steps: an evaluation has no backward, after which units would be let go --------------------------------------

    def val_step(self, data: Any) -> Any:
        """Predictions on one validation batch."""
        return self._evaluated(super().val_step, data)

    def test_step(self, data: Any) -> Any:
        """Predictions on one test batch."""
        return self._evaluated(super().test_step, data)

    def eval_losses(self, data: Any) -> dict[str, torch.Tensor]:
        """The loss terms of one batch."""
        return self._evaluated(super().eval_losses, data)  # type: ignore[no-any-return]

    def _evaluated(self, step: Callable[[Any], Any], data: Any) -> Any:
        outputs = step(data)
        for unit in self._sharded:
            unit.reshard()
        return outputs

    # state ------------------------------------------------------------------------------------------------------

    def _gradients_held(self) -> list[torch.Tensor]:
        own = [param.grad for param in self._apart if param.grad is not None]
        return [*fsdp_gradients.tensors(self._sharded), *own]

    def held_gradients(self) -> dict[str, torch.Tensor]:
        apart = set(self._apart)
        named = [(name, p.grad) for name, p in self.model.named_parameters() if p in apart]
        own = {name: gradient.cpu() for name, gradient in named if gradient is not None}
        return {**fsdp_gradients.held(self.model, self._sharded), **own}

    def put_gradients(self, gradients: dict[str, torch.Tensor]) -> None:
        fsdp_gradients.put(self.model, self._sharded, gradients)
        apart = set(self._apart)
        for name, param in self.model.named_parameters():
            if param in apart and name in gradients:
                param.grad = gradients[name].to(param.device)

    def drop_gradients(self) -> None:
        super().drop_gradients()
        fsdp_gradients.drop(self._sharded)

    def exchange_gradients(self, params: list[nn.Parameter]) -> None:
        """Divide among the ranks the gradients of a window whose last loss is left out. All ranks call this."""
        fsdp_gradients.exchange(self.model, self._sharded)
        super().exchange_gradients(self._apart)

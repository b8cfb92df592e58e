"""Every rank keeps a part of each parameter, gradient and optimizer state: FSDP2's fully_shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean
from trainwright.model import BaseModel
from trainwright.optim import BaseOptimWrapper
from trainwright.registry import STRATEGIES
from trainwright.strategies import fsdp_gradients
from trainwright.strategies.mesh import device_mesh, shard_size
from trainwright.strategies.ranks import RanksStrategy
from trainwright.strategies.sharded_state import ShardedState, clip_sharded
from trainwright.strategies.tensor_parallel import TensorGroups

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_PRECISION = ("param_dtype", "reduce_dtype", "output_dtype", "cast_forward_inputs")


@STRATEGIES.register_module()
class FSDPStrategy(ShardedState, RanksStrategy):
    """Parameters, gradients and optimizer states in parts, one a rank, by ``torch.distributed.fsdp.fully_shard``.

    A unit is gathered, used and let go as one. `wrap`: class names of the modules that become units; `min_params`:
    modules with so many parameters that are in no unit yet become one; what is left is the model's own unit.
    `mixed_precision`: ``param_dtype``, ``reduce_dtype``, ``output_dtype`` ('bfloat16', ...), ``cast_forward_inputs``.
    `reshard_after_forward` False keeps units whole until the backward: more memory, fewer messages.
    `cpu_offload`: parts lie in the memory of the host. `forward_methods`: methods of the model besides ``forward`` that
    compute with its weights and are called from outside; overridden ``val_step`` and ``test_step`` are added.
    `tensor_parallel`: ``dict(size=2, plan={...})`` divides layers over groups of neighbouring ranks first, which see
    the same samples; see :func:`parallelize`.

    A checkpoint is a step folder, into which each rank writes its part of every tensor; as a single file
    (``CheckpointHook(layout='file')``) rank 0 gathers the whole. Any strategy and any number of ranks reads either.
    """

    layout = "folder"

    def __init__(
        self,
        *,
        wrap: Sequence[str] = (),
        min_params: int | None = None,
        mixed_precision: dict[str, Any] | None = None,
        reshard_after_forward: bool = True,
        cpu_offload: bool = False,
        forward_methods: Sequence[str] = (),
        tensor_parallel: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._wrap = [wrap] if isinstance(wrap, str) else list(wrap)
        self._min_params = min_params
        self._precision = _checked_precision(mixed_precision or {})
        self._reshards = reshard_after_forward
        self._offloads = cpu_offload
        self._methods = list(forward_methods)
        self._tensor = TensorGroups(tensor_parallel)
        super().__init__(**kwargs)

    def _set_data_axis(self) -> None:
        self._tensor.set_data_axis()

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        from torch.distributed import fsdp

        units, methods = self._units(model), self._forward_methods(model)
        model = model.to(self.device)
        self.model = model
        super().init_model_weights()  # on whole tensors, as in one process
        self._equalise(model)
        tensor = self._tensor.size
        self._mesh = device_mesh(self.device.type, shard=shard_size(tensor=tensor), tensor=tensor)
        self._tensor.divide(model, self._mesh, units)
        settings: dict[str, Any] = {
            "mesh": self._mesh["shard"],
            "mp_policy": fsdp.MixedPrecisionPolicy(**self._precision),
        }
        if self._offloads:
            settings["offload_policy"] = fsdp.CPUOffloadPolicy(pin_memory=self.device.type == "cuda")
        for unit in units:
            fsdp.fully_shard(unit, reshard_after_forward=self._reshards, **settings)
        # Of the outermost unit torch knows that the backward begins with it: it is kept unless that is refused.
        fsdp.fully_shard(model, reshard_after_forward=None if self._reshards else False, **settings)
        for name in methods:
            fsdp.register_fsdp_forward_method(model, name)
        self._sharded: list[Any] = [m for m in model.modules() if isinstance(m, fsdp.FSDPModule)]
        return model

    def _units(self, model: nn.Module) -> list[nn.Module]:
        """The modules below ``model`` that become units, children first."""
        kinds = {type(module).__name__ for module in model.modules()}
        for name in self._wrap:
            if name not in kinds:
                raise ConfigError(
                    f"FSDPStrategy wrap names {name!r}, and {type(model).__name__} has no module of that class."
                    f"{did_you_mean(name, kinds)}"
                )
        units: list[nn.Module] = []
        covered: set[nn.Parameter] = set()
        for module in reversed(list(model.modules())):
            own = [p for p in module.parameters() if p not in covered]
            is_large = self._min_params is not None and sum(p.numel() for p in own) >= self._min_params
            if module is not model and own and (type(module).__name__ in self._wrap or is_large):
                units.append(module)
                covered.update(own)
        return units

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
            wrapper.held_grads = lambda: fsdp_gradients.tensors(self._sharded)
        self._tensor.watch(self.model, self._wrappers(), self._mesh)
        return self.optim_wrapper

    def grad_sync(self, on: bool) -> AbstractContextManager[Any]:
        """From now on gradients of a backward are (``on``) or are not divided among the ranks: FSDP asks during the
        backward, which comes after the context."""
        model: Any = self.model
        model.set_requires_gradient_sync(on)
        return nullcontext()

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

    def _held_gradients(self) -> dict[str, torch.Tensor]:
        return fsdp_gradients.held(self.model, self._sharded)

    def _put_gradients(self, gradients: dict[str, torch.Tensor]) -> None:
        fsdp_gradients.put(self.model, self._sharded, gradients)

    def _drop_gradients(self) -> None:
        super()._drop_gradients()
        fsdp_gradients.drop(self._sharded)

    def exchange_gradients(self, params: list[nn.Parameter]) -> None:
        """Divide among the ranks the gradients of a window whose last loss is left out. All ranks call this."""
        fsdp_gradients.exchange(self.model, self._sharded)


def _checked_precision(cfg: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in cfg.items():
        if name not in _PRECISION:
            raise ConfigError(
                f"mixed_precision has no setting {name!r}; it takes {', '.join(_PRECISION)}."
                f"{did_you_mean(name, _PRECISION)}"
            )
        if isinstance(value, str) and value not in _DTYPES:
            raise ConfigError(
                f"mixed_precision {name}={value!r} is none of {', '.join(_DTYPES)}.{did_you_mean(value, _DTYPES)}"
            )
        found[name] = _DTYPES.get(value, value) if isinstance(value, str) else value
    return found

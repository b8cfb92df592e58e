"""Parts of layers on each rank of a tensor group, by a plan: DTensor's parallel styles."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean
from trainwright.optim import BaseOptimWrapper
from trainwright.registry import STRATEGIES
from trainwright.strategies.ranks import RanksStrategy
from trainwright.strategies.replicas import watch_replicas
from trainwright.strategies.sharded_state import ShardedState, clip_sharded
from trainwright.strategies.tensor_plan import Divide, Entry, check_fit, check_heads, matched, read_plan

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

_SUM = "replicate_sum"


@STRATEGIES.register_extra
class TensorParallelStrategy(ShardedState, RanksStrategy):
    """Every rank computes with a part of the layers that `plan` names, on the same samples as the others.

    `plan` maps patterns of module names to styles: ``{'layers.*.fc1': 'colwise', 'layers.*.fc2': 'rowwise'}``, see
    :func:`parallelize`. `size`: ranks of a tensor group, by default all; with fewer, several groups train on different
    samples, and ``FSDPStrategy(tensor_parallel=dict(size=..., plan=...))`` brings their gradients together.

    Weights that the plan does not name are whole on every rank. All ranks read the same batches, and their random
    streams are the same. A checkpoint is a step folder, into which each rank writes its parts.
    """

    layout = "folder"

    def __init__(self, *, plan: dict[str, Any], size: int | None = None, **kwargs: Any) -> None:
        self._plan = read_plan(plan)
        self._size = size
        super().__init__(**kwargs)

    def _set_data_axis(self) -> None:
        world_size = dist.get_world_size()
        size = world_size if self._size is None else self._size
        axis = dist.data_axis(size)
        if size != world_size:
            raise ConfigError(
                f"TensorParallelStrategy size={size} makes {world_size // size} groups of these {world_size} ranks, "
                "which would train on different samples, and nothing brings their gradients together. Take strategy="
                f"dict(type='FSDPStrategy', tensor_parallel=dict(size={size}, plan=...)), or leave the size out."
            )
        dist.set_data_axis(axis)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        from torch.distributed.device_mesh import init_device_mesh

        model = model.to(self.device)
        self.model = model
        super().init_model_weights()  # on whole tensors, as in one process
        self._mesh = init_device_mesh(self.device.type, (self.world_size,), mesh_dim_names=("tensor",))
        return parallelize(model, self._mesh, self._plan)

    def init_model_weights(self) -> None:
        """Nothing: it was done before the weights were divided."""

    def attach_optim_wrapper(self, optim_wrapper: Any) -> BaseOptimWrapper:
        """Build the wrapper; it clips by the norm of whole gradients."""
        super().attach_optim_wrapper(optim_wrapper)
        self._connect_optimizers(clip_sharded)
        watch_replicas(self.model, self._wrappers(), self._mesh.get_group())
        return self.optim_wrapper


class TensorGroups:
    """The setting ``tensor_parallel=dict(size=..., plan=...)`` of a strategy that divides more than tensors; None is
    groups of one rank, and everything here does nothing."""

    def __init__(self, cfg: Mapping[str, Any] | None) -> None:
        settings = dict(cfg or {})
        for name in settings:
            if name not in ("size", "plan"):
                raise ConfigError(
                    f"tensor_parallel has no setting {name!r}; it takes size, the ranks of a tensor group, and plan."
                    f"{did_you_mean(name, ['size', 'plan'])}"
                )
        if settings and "size" not in settings:
            raise ConfigError("tensor_parallel lacks size, the ranks of a tensor group: size=2, for instance.")
        self.size: int = settings.get("size", 1)
        self.entries = read_plan(settings.get("plan")) if settings else []

    def set_data_axis(self) -> None:
        """Let the ranks of a group see the same samples; called by a strategy's ``_set_data_axis``."""
        axis = dist.data_axis(self.size)
        if self.size > 1 and self.size == dist.get_world_size():
            raise ConfigError(
                f"tensor_parallel size={self.size} makes one group of all ranks, so that nothing is left to divide "
                "otherwise: take TensorParallelStrategy(plan=...), a smaller size, or more processes."
            )
        dist.set_data_axis(axis)

    def divide(self, model: nn.Module, mesh: DeviceMesh, units: Iterable[nn.Module]) -> None:
        """Divide `model` over the dimension ``tensor`` of `mesh`, before FSDP makes `units` of it, and of the model."""
        if self.size > 1:
            parallelize(model, mesh["tensor"], self.entries)
            for unit in (*units, model):
                outputs_of_its_own(unit)
            # It warns of every tensor that is divided along two dimensions, which all are here.
            logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)

    def watch(self, model: nn.Module, wrappers: Iterable[Any], mesh: DeviceMesh) -> None:
        """See :func:`watch_replicas`."""
        if self.size > 1:
            watch_replicas(model, wrappers, mesh.get_group("tensor"))


def parallelize(model: nn.Module, mesh: DeviceMesh, plan: Mapping[str, Any] | Sequence[Entry]) -> nn.Module:
    """Divide `model`, of which all ranks have the same weights, over the one dimension of `mesh`, in place.

    The patterns of `plan` are those of ``fnmatch``, in which ``*`` matches dots too. Styles, by name:

    - ``colwise``: outputs of a linear layer, columns of an embedding, are divided; ``colwise_gather`` puts them
      together again, ``colwise_sequence`` takes an input whose dimension 1 is divided;
    - ``rowwise``: inputs of a linear layer are divided, outputs summed; ``rowwise_scatter`` divides these along
      dimension 1;
    - ``embedding``: rows of the table are divided, outputs summed; ``embedding_scatter`` as above;
    - ``sequence``: a norm or dropout whose input is divided along dimension 1;
    - ``replicate``: whole weights, as of what the plan does not name; ``replicate_sum``: whole weights that compute
      with a part of the channels or heads, so that gradients are summed over the ranks.

    ``dict(type='ColwiseParallel', input_layouts='shard(1)', ...)`` is a style of torch.distributed.tensor.parallel,
    ``dict(type='Divide', attributes=['n_heads'])`` divides numbers that a module counts with; a list applies several.
    """
    entries = read_plan(plan) if isinstance(plan, Mapping) else list(plan)
    size = mesh.size()
    found = matched(model, entries)
    check_fit(model, found, size)
    for text in check_heads(model, found, size):
        print_log(text, "current", logging.WARNING)
    trained = {name: param.requires_grad for name, param in model.named_parameters(remove_duplicate=False)}
    ties = _ties(model)
    if mesh.device_type == "cpu":  # a dropout of 'sequence' draws from each rank's stream, and these are the same
        warnings.filterwarnings("ignore", "DTensor random operators may not have complete support on cpu")
    for name, own in found.items():
        for entry in own:
            if isinstance(entry.style, Divide):
                entry.style.apply(name, model.get_submodule(name), size)
            elif not isinstance(entry.style, str):
                entry.style.src_data_rank = None  # every rank has the whole already
                entry.style._apply(model.get_submodule(name), mesh)
    _replicate_rest(model, mesh, [name for name, own in found.items() if any(entry.style == _SUM for entry in own)])
    _tie(model, ties)
    for name, param in model.named_parameters():
        param.requires_grad_(True).register_post_accumulate_grad_hook(_settle)  # a frozen one may be thawed
        param.requires_grad_(trained[name])
    return model


def outputs_of_its_own(module: nn.Module) -> None:
    """Have the forward of `module`, a unit of FSDP, return no views: its hooks would be lost with one that is changed
    in place, and torch warns of each."""

    def owned(module: nn.Module, args: Any, output: Any) -> Any:
        return torch.utils._pytree.tree_map_only(torch.Tensor, _owned, output)

    module.register_forward_hook(owned)


def _owned(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clone() if tensor.requires_grad and tensor._is_view() else tensor


# -- weights that are not divided --------------------------------------------------------------------------------------


def _replicate_rest(model: nn.Module, mesh: DeviceMesh, sums: Sequence[str]) -> None:
    """Make DTensors of the weights that are left, so that optimizers and clipping meet one kind; a forward sees them
    as the plain tensors that they are. `sums`: modules and parameters that compute with a part of something."""
    from torch.distributed.tensor import DTensor, Replicate

    made: dict[int, nn.Parameter] = {}  # of a weight that stands in several places there is one
    for prefix, module in model.named_modules():
        rest = [n for n, param in module._parameters.items() if param is not None and not dist.is_sharded(param)]
        for name in rest:
            param: Any = module._parameters[name]
            if id(param) not in made:
                whole = DTensor.from_local(param.detach(), mesh, [Replicate()], run_check=False)
                made[id(param)] = nn.Parameter(whole, requires_grad=param.requires_grad)
            module._parameters[name] = made[id(param)]
        if rest:
            paths = {name: f"{prefix}.{name}".lstrip(".") for name in rest}
            summed = [name for name in rest if any(f"{paths[name]}.".startswith(f"{one}.") or not one for one in sums)]
            kind: Any = type(module)
            module.__class__ = _seen_whole(kind, tuple(rest), tuple(summed))


@cache
def _seen_whole(kind: type[nn.Module], names: tuple[str, ...], summed: tuple[str, ...]) -> type[nn.Module]:
    """`kind`, whose instances give these parameters as plain tensors to whoever reads the attribute."""
    views = {name: property(_reader(name, name in summed)) for name in names}
    return type(kind.__name__, (kind,), {**views, "__module__": kind.__module__, "__doc__": kind.__doc__})


def _reader(name: str, is_summed: bool) -> Callable[[Any], Any]:
    from torch.distributed.tensor import Partial, Replicate

    placements = [Partial() if is_summed else Replicate()]

    def read(module: Any) -> Any:
        param = module._parameters[name]
        # Between its uses FSDP has a part of it here, on a mesh of more dimensions.
        is_whole = dist.is_sharded(param) and param.device_mesh.ndim == 1 and param.placements[0].is_replicate()
        return param.to_local(grad_placements=placements) if is_whole else param

    return read


def _settle(param: torch.Tensor) -> None:
    """Sum a gradient of which each rank has a summand, as of the norms of 'sequence'."""
    gradient: Any = param.grad
    like: Any = param
    if dist.is_sharded(gradient) and gradient.placements != like.placements:
        param.grad = gradient.redistribute(placements=like.placements)


# -- weights that stand in several places ------------------------------------------------------------------------------


def _ties(model: nn.Module) -> list[list[tuple[str, str]]]:
    """(module, parameter) of each weight that stands in several places."""
    places: dict[int, list[tuple[str, str]]] = {}
    for prefix, module in model.named_modules():
        for name, param in module._parameters.items():
            if param is not None:
                places.setdefault(id(param), []).append((prefix, name))
    return [own for own in places.values() if len(own) > 1]


def _tie(model: nn.Module, ties: Iterable[Sequence[tuple[str, str]]]) -> None:
    """Make one weight of those that were one."""
    for places in ties:
        owners: list[Any] = [model.get_submodule(prefix) for prefix, _ in places]
        params = [owner._parameters[name] for owner, (_, name) in zip(owners, places, strict=True)]
        layouts = {tuple(param.placements) for param in params}
        if len(layouts) > 1:
            names = ", ".join(f"{prefix}.{name}" for prefix, name in places)
            raise ConfigError(
                f"{names} are one weight, and the plan divides them in different ways ({_text(params)}): 'embedding' "
                "for a table and 'colwise_gather' for the output layer that shares it divide the same rows; or leave "
                "both out of the plan."
            )
        for owner, (_, name) in zip(owners, places, strict=True):
            owner._parameters[name] = params[0]


def _text(params: Iterable[Any]) -> str:
    return " and ".join(dict.fromkeys(repr(param.placements[0]) for param in params))

"""A model built and initialised with one whole parameter in memory at a time; of the others each rank has a part.

Inside the context every new parameter is an ordinary one, whose memory is given back as soon as another one is used,
but for this rank's part. Whatever is done with it comes by here first, and finds it whole: all ranks do the same, and
put it together again. So the model's own code runs, draws from the random stream in its own order, and gives the
numbers that one process would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.checkpoint.stored import ASKS_FOR_MEMORY

_OVERWRITING = ("uniform_", "normal_", "zero_", "fill_", "copy_", "exponential_", "bernoulli_", "random_")


class InitByParts:
    """The context; it can be entered again. With ``skips`` nothing is initialised: weights are NaN until they are
    loaded. ``most_bytes``: of whole parameters that lay in memory together."""

    def __init__(self, skips: bool = False) -> None:
        self.skips = skips
        self.most_bytes = 0
        self._known: dict[int | None, _Parted] = {}  # by storage
        self._whole: list[_Parted] = []
        self._modes: list[Any] = []

    def __enter__(self) -> InitByParts:
        self._modes = [_Registering(self), _AtMemory(self), _AtOperators(self)]
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        while self._modes:
            self._modes.pop().__exit__(*error)

    def take(self, param: nn.Parameter) -> None:
        """Keep a part of it from now on. It stays the same object."""
        if param.is_meta or is_lazy(param) or _storage_of(param) in self._known:
            return
        with _disable_current_modes(), torch.no_grad():
            storage = param.untyped_storage()
            is_tight = param.is_contiguous() and storage.nbytes() == param.nbytes and storage.resizable()
            if not is_tight or param.device.type != "cpu":
                param.data = param.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            parted = _Parted(param, self.skips and param.is_floating_point())
            self._known[parted.key] = parted
            self._keep([parted])
            if self.skips:
                parted.cut()

    def adopt(self, model: nn.Module) -> None:
        """Take what came into the model in another way, such as by a deep copy of a part of it. A buffer that shares
        memory with a parameter gets its own; one without numbers is a ConfigError."""
        for kind, named in (("buffer", model.named_buffers()), ("parameter", model.named_parameters())):
            for path, tensor in named:
                if tensor.is_meta:
                    raise ConfigError(
                        f"init_on='meta': the {kind} {path!r} of {type(model).__name__} lies on the meta device, where "
                        "it was made, so that nobody knows its numbers. Leave that device out: the strategy sees to it."
                    )
        for param in model.parameters():
            self.take(param)
        for module in model.modules():
            for name, buffer in module._buffers.items():
                parted = None if buffer is None else self._known.get(_storage_of(buffer))
                if parted is not None:
                    self._keep([parted])
                    module._buffers[name] = buffer.clone()  # type: ignore[union-attr]

    def put_outside(self, model: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
        """Parameters on the meta device in place of those of `model`, and what was where. Tied ones stay tied."""
        outside: dict[nn.Parameter, nn.Parameter] = {}
        before: list[tuple[nn.Module, str, nn.Parameter]] = []
        for module in model.modules():
            for name, param in module._parameters.items():
                if param is not None:
                    if param not in outside:
                        meta = torch.empty(param.shape, dtype=param.dtype, device="meta")
                        outside[param] = nn.Parameter(meta, param.requires_grad)
                        vars(outside[param]).update(vars(param))
                        before.append((module, name, param))
                    module._parameters[name] = outside[param]
        return before

    def fill(self, model: nn.Module, before: list[tuple[nn.Module, str, nn.Parameter]], device: torch.device) -> None:
        """Put the numbers into the parameters of `model`, one after the other, as these are divided by now; ``before``
        is what :meth:`put_outside` gave, and is used up. All ranks call this."""
        filled: dict[nn.Parameter, nn.Parameter] = {}
        while before:
            module, name, whole = before.pop()  # no longer held by anybody, so that its memory goes with it
            like: Any = module._parameters[name]
            numbers = self.take_out(whole)
            own = dist.own_part(numbers, like) if dist.is_sharded(like) else numbers.to(device, copy=True)
            filled[like] = made = nn.Parameter(own, whole.requires_grad)
            vars(made).update(vars(whole))
        for module in model.modules():
            for name, param in module._parameters.items():
                if param is not None:
                    module._parameters[name] = filled[param]

    def take_out(self, param: nn.Parameter) -> Tensor:
        """The whole of a parameter, which is forgotten here. All ranks call this."""
        parted = self._known.pop(_storage_of(param))
        parted.gather()
        self.most_bytes = max(self.most_bytes, parted.n_bytes)
        self._whole = [other for other in self._whole if other is not parted]
        return param.detach()

    def before(self, used: list[Any], mutated: Any = None, n_mutated: int = -1) -> list[_Parted]:
        """Make whole what is among the tensors ``used``; of ``mutated`` so many bytes are about to be written over."""
        found = {key: self._known[key] for key in map(_storage_of, used) if key in self._known}
        for parted in found.values():
            is_lost = mutated is not None and _storage_of(mutated) == parted.key and n_mutated == parted.n_bytes
            parted.gather(with_numbers=not is_lost)
        if found:
            self._keep(list(found.values()))
        return list(found.values())

    def knows(self, tensor: Any) -> bool:
        """Whether `tensor` is a parameter that was taken, or a view of one."""
        return isinstance(tensor, Tensor) and _storage_of(tensor) in self._known

    def _keep(self, used: list[_Parted]) -> None:
        for parted in self._whole:
            if not any(parted is other for other in used):
                parted.cut()
        self._whole = used
        self.most_bytes = max(self.most_bytes, sum(parted.n_bytes for parted in used))


class _Parted:
    """The numbers of one parameter: the whole of them in its own memory, or this rank's part."""

    def __init__(self, param: nn.Parameter, is_skipped: bool) -> None:
        self._storage = param.untyped_storage()  # held, so that no other one gets its place
        self.key, self.n_bytes, self._dtype = self._storage._cdata, param.nbytes, param.dtype
        self._n_all, self._is_skipped, self._is_whole = param.numel(), is_skipped, True
        self._part: Tensor | None = None

    def gather(self, with_numbers: bool = True) -> None:
        """Make it whole. All ranks call this."""
        if self._is_whole:
            return
        with _disable_current_modes():
            self._storage.resize_(self.n_bytes)
            self._is_whole = True
            flat = self._flat()
            if self._is_skipped:
                flat.fill_(float("nan"))
            elif with_numbers:
                for rank, (start, end) in enumerate(self._shares()):  # in place, one rank's part after the other
                    if self._part is not None and rank == dist.get_rank():
                        flat[start:end] = self._part
                    if end > start:
                        dist.broadcast(flat[start:end], rank)
            self._part = None

    def cut(self) -> None:
        """Let all go but this rank's part. What was handed out as a numpy array stays: torch never gives it back."""
        if not self._is_whole or not self._storage.resizable():
            return
        with _disable_current_modes():
            if not self._is_skipped:
                start, end = list(self._shares())[dist.get_rank()]
                self._part = self._flat()[start:end].clone()
            self._storage.resize_(0)
            self._is_whole = False

    def _flat(self) -> Tensor:
        flat: Any = torch.empty(0, dtype=self._dtype)
        return flat.set_(self._storage, 0, (self._n_all,))  # type: ignore[no-any-return]

    def _shares(self) -> Iterator[tuple[int, int]]:
        n_ranks = dist.get_world_size()
        size = -(-self._n_all // n_ranks)
        for rank in range(n_ranks):
            yield min(rank * size, self._n_all), min((rank + 1) * size, self._n_all)


class _AtOperators(TorchDispatchMode):
    """What is computed with parameters."""

    def __init__(self, parts: InitByParts) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._parts = parts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if self._parts.skips and func._schema.is_mutable and self._parts.knows(first):
            return first
        n_written = -1
        if first is not None and func._opname in _OVERWRITING:
            n_written = first.numel() * first.element_size()
        self._parts.before(tree_leaves((args, kwargs)), first, n_written)
        return func(*args, **kwargs)


class _AtMemory(TorchFunctionMode):
    """What reads parameters without an operator."""

    def __init__(self, parts: InitByParts) -> None:
        super().__init__()
        self._parts = parts

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in ASKS_FOR_MEMORY:
            self._parts.before([args[0]])
        return func(*args, **(kwargs or {}))


class _Registering:
    """Where modules get parameters."""

    def __init__(self, parts: InitByParts) -> None:
        self._parts = parts
        self._register: Callable[..., None] = nn.Module.register_parameter

    def __enter__(self) -> None:
        register, parts = nn.Module.register_parameter, self._parts
        self._register = register

        def registered(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
            register(module, name, param)
            if isinstance(param, nn.Parameter):
                parts.take(param)

        nn.Module.register_parameter = registered  # type: ignore[method-assign,assignment]

    def __exit__(self, *error: Any) -> None:
        nn.Module.register_parameter = self._register  # type: ignore[method-assign]


def _storage_of(tensor: Any) -> int | None:
    """What two views of the same numbers have in common; None for what has no memory of its own."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout is not torch.strided or is_lazy(tensor):
        return None
    with torch._C.DisableTorchFunction():
        return int(tensor.untyped_storage()._cdata)

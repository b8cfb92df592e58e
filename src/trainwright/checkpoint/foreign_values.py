"""What the classes in foreign checkpoints stand for here: tensors, numbers, text, lists and dicts.

The table is the whole of what is understood. None of these classes is imported; a file that names another one is not
read in this way.
"""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch

from trainwright.checkpoint.bounds import MAX_DEPTH
from trainwright.checkpoint.foreign_tensors import DTYPES, STORAGE_TYPES, Storages
from trainwright.checkpoint.pickles import Call, Name, PickleError, Stored
from trainwright.state import to_plain

_DTYPE = re.compile(r"[|<>=]?([biufcSUO])(\d{0,9})")
_CONTAINERS = (dict, list, tuple, set, frozenset, Call)


class Values:
    """Turns what :func:`parse` gave into tensors and plain data. ``replaced`` counts the classes that were."""

    def __init__(self, storages: Storages) -> None:
        self.replaced: Counter[str] = Counter()
        self._storages = storages
        self._done: dict[int, Any] = {}
        self._open: set[int] = set()

    def of(self, value: Any) -> Any:
        """``value`` as tensors and plain data; what stands in several places stays one."""
        if not isinstance(value, _CONTAINERS):
            return self._single(value)
        if id(value) in self._done:
            return self._done[id(value)]
        if id(value) in self._open:
            raise PickleError(f"a {type(value).__name__.lower()} in it holds itself")
        if len(self._open) > MAX_DEPTH:
            raise PickleError(f"its containers are nested deeper than {MAX_DEPTH}")
        self._open.add(id(value))
        made = self.called(value) if isinstance(value, Call) else self._container(value)
        self._open.discard(id(value))
        self._done[id(value)] = made
        return made

    def plain(self, value: Any) -> Any:
        """As :meth:`of`; a type of NumPy, which is no data, as its text."""
        made = self.of(value)
        return str(made) if isinstance(made, np.dtype) else made

    def _single(self, value: Any) -> Any:
        if isinstance(value, Name):
            return DTYPES.get(value.dotted, value.dotted)
        if isinstance(value, Stored):
            data, dtype = self._storages.part(value)
            return data if dtype is torch.uint8 else data.view(dtype)
        return bytes(value) if isinstance(value, bytearray) else value

    def _container(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._key(key): self.plain(item) for key, item in value.items()}
        if isinstance(value, (set, frozenset)):
            return {self._key(item) for item in value}
        return type(value)(self.plain(item) for item in value)

    def _key(self, value: Any) -> Any:
        key = self.plain(value)
        if isinstance(key, (list, dict, set, torch.Tensor)):
            raise PickleError(f"a dict in it has a {type(key).__name__} as a key")
        return key

    def called(self, call: Call) -> Any:
        """What the object of ``call`` stands for."""
        make = _MAKERS.get(call.name)
        if make is None:
            raise PickleError(f"it calls {call.name}")
        kind = _SHOWN.get(call.name)
        if kind:
            self.replaced[kind] += 1
        return make(self, call)

    def pairs(self, call: Call, *more: Any) -> dict[Any, Any]:
        """The items of a dict's subclass, from its arguments and what was put in."""
        found: dict[Any, Any] = {}
        for given in (*call.args, *more):
            plain = self.of(given)
            items = list(plain.items()) if isinstance(plain, dict) else plain
            if isinstance(items, (list, tuple)) and all(isinstance(i, (list, tuple)) and len(i) == 2 for i in items):
                found.update(items)
        found.update((self._key(key), self.plain(item)) for key, item in call.pairs)
        return found

    def state(self, call: Call) -> Any:
        """The last state of an object, as data."""
        return self.of(call.states[-1]) if call.states else None

    @property
    def tensor(self) -> Callable[..., torch.Tensor]:
        """Makes a tensor over a storage."""
        return self._storages.tensor


# makers --------------------------------------------------------------------------------------------------------------


def _tensor(values: Values, call: Call) -> Any:
    stored, offset, *rest = call.args
    shape, stride = (values.of(item) for item in rest[:2])
    if call.name.endswith("_v3"):
        dtype = values.of(call.args[6])
        if not isinstance(dtype, torch.dtype):
            raise PickleError("a tensor in it has no type")
        return values.tensor(stored, offset, shape, stride, dtype=dtype)
    return values.tensor(stored, offset, shape, stride)


def _first(values: Values, call: Call) -> Any:
    return values.of(call.args[0])


def _retyped(values: Values, call: Call) -> Any:
    made, _, args, *_ = call.args
    if not isinstance(made, Name) or made.dotted not in _MAKERS or type(args) is not tuple:
        raise PickleError("a tensor in it is made by something else than torch")
    return values.called(Call(made.dotted, args))


def _ordered(values: Values, call: Call) -> OrderedDict[Any, Any]:
    made = OrderedDict(values.pairs(call))
    state = values.state(call)
    if isinstance(state, dict) and "_metadata" in state:
        made._metadata = state["_metadata"]  # type: ignore[attr-defined]
    return made


def _defaults(values: Values, call: Call) -> dict[Any, Any]:
    return values.pairs(Call(call.name, call.args[1:], call.pairs))


def _namespace(values: Values, call: Call) -> dict[Any, Any]:
    state = values.state(call)
    return dict(state) if isinstance(state, dict) else {}


def _config(values: Values, call: Call) -> dict[Any, Any]:
    state = values.state(call)
    inner = state[0] if isinstance(state, tuple) and state else state
    return dict(inner) if isinstance(inner, dict) else {}


def _old_style(values: Values, call: Call) -> Any:
    """copyreg._reconstructor(class, base, base's state)."""
    if not call.args or not isinstance(call.args[0], Name) or call.args[0].dotted not in _MAKERS:
        raise PickleError("it makes an object of no known class")
    given = call.args[2:] if len(call.args) > 2 and call.args[2] is not None else ()
    return values.called(Call(call.args[0].dotted, tuple(given), call.pairs, call.items, call.states))


def _list(values: Values, call: Call) -> list[Any]:
    start = values.of(call.args[0]) if call.args else []
    return [*(start if isinstance(start, (list, tuple, set)) else []), *map(values.plain, call.items)]


def _set(values: Values, call: Call) -> set[Any]:
    made = _list(values, call)
    if any(isinstance(item, (list, dict, set, torch.Tensor)) for item in made):
        raise PickleError("a set in it has a container as an item")
    return set(made)


def _bytes(values: Values, call: Call) -> bytes:
    given = values.of(call.args[0]) if call.args else b""
    return _raw(given)


def _text_of_path(values: Values, call: Call) -> str:
    return str(PurePosixPath(*(str(values.of(part)) for part in call.args)))


def _complex(values: Values, call: Call) -> complex:
    return complex(*(float(values.of(part)) for part in call.args[:2]))


def _device(values: Values, call: Call) -> str:
    return ":".join(str(values.of(part)) for part in call.args[:2])


def _dtype(values: Values, call: Call) -> np.dtype[Any]:
    text = values.of(call.args[0])
    found = _DTYPE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise PickleError(f"an array in it has the type {str(text)[:30]!r}")
    state = values.state(call)
    is_big = isinstance(state, tuple) and len(state) > 1 and state[1] == ">"
    return np.dtype((">" if is_big else "<") + found[1] + found[2])


def _array(values: Values, call: Call) -> Any:
    state = call.states[-1] if call.states else None
    if type(state) is not tuple or len(state) != 5:
        raise PickleError("an array in it has no content")
    _, shape, dtype, is_fortran, raw = (values.of(item) for item in state)
    return _filled(values, raw, dtype, shape, "F" if is_fortran else "C")


def _buffer(values: Values, call: Call) -> Any:
    raw, dtype, shape, order = (values.of(item) for item in call.args)
    return _filled(values, raw, dtype, shape, order if order == "F" else "C")


def _filled(values: Values, raw: Any, dtype: Any, shape: Any, order: Any) -> Any:
    if not isinstance(dtype, np.dtype) or type(shape) is not tuple:
        raise PickleError("an array in it has no type or shape")
    if not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 32:
        raise PickleError("an array in it has a shape that is none")
    if dtype.kind == "O":
        items = raw if isinstance(raw, list) and len(shape) == 1 and len(raw) == shape[0] else None
        if items is None:
            raise PickleError("an array in it holds objects")
        return items
    data = _raw(raw)
    if dtype.itemsize == 0 or len(data) != math.prod(shape) * dtype.itemsize:
        raise PickleError("an array in it has fewer bytes than its shape says")
    array = np.frombuffer(data, dtype).reshape(shape, order=order)
    return array.tolist() if dtype.kind in "SU" else to_plain(array)


def _scalar(values: Values, call: Call) -> Any:
    dtype = values.of(call.args[0])
    if not isinstance(dtype, np.dtype) or dtype.kind == "O" or dtype.itemsize == 0:
        raise PickleError("a number in it has no type")
    data = _raw(values.of(call.args[1]))
    if len(data) != dtype.itemsize:
        raise PickleError("a number in it has fewer bytes than its type says")
    return np.frombuffer(data, dtype)[0].item()


def _history(values: Values, call: Call) -> dict[str, Any]:
    """MMEngine's, as the state of ours. Its ``statistics_methods`` are functions, and are not looked at."""
    state = call.states[-1] if call.states else None
    if not isinstance(state, dict) or "_log_history" not in state:
        raise PickleError("a history in it has no values")
    logged, counted = (_numbers(values.of(state.get(key))) for key in ("_log_history", "_count_history"))
    if len(logged) != len(counted):
        raise PickleError("a history in it has not one count a value")
    length = values.of(state.get("max_length", 1_000_000))
    return {"values": logged, "counts": counted, "max_length": length if type(length) is int else 1_000_000}


def _numbers(value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.double().reshape(-1)
    if isinstance(value, (list, tuple)) and all(isinstance(item, (int, float)) for item in value):
        return torch.tensor(value, dtype=torch.float64)
    raise PickleError("a history in it holds something else than numbers")


def _raw(value: Any) -> bytes:
    if isinstance(value, str):  # Python 2 wrote bytes as text, and protocol 2 writes them as text of this encoding
        return value.encode("latin-1")
    if not isinstance(value, bytes):
        raise PickleError(f"it has a {type(value).__name__} where bytes must be")
    return value


_NUMPY = ("numpy.core", "numpy._core")
_HISTORIES = ("mmengine.logging.history_buffer.HistoryBuffer", "mmengine.logging.HistoryBuffer")
_DICTS = (
    *("mmengine.config.config.ConfigDict", "mmengine.config.ConfigDict", "mmengine.ConfigDict"),
    *("mmcv.utils.config.ConfigDict", "mmcv.utils.ConfigDict", "mmcv.ConfigDict"),
    *("addict.addict.Dict", "addict.Dict", "easydict.EasyDict", "builtins.dict"),
    *("yacs.config.CfgNode", "fvcore.common.config.CfgNode", "detectron2.config.config.CfgNode"),
)
_CONFIGS = ("mmengine.config.config.Config", "mmcv.utils.config.Config")
_NAMESPACES = ("argparse.Namespace", "types.SimpleNamespace")
_DEEPSPEED = (
    *("deepspeed.runtime.fp16.loss_scaler.LossScaler", "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler"),
    "deepspeed.utils.tensor_fragment.fragment_address",
)
_PATHS = tuple(f"pathlib.{kind}Path" for kind in ("Posix", "PurePosix", "Windows", "PureWindows", "", "Pure")) + tuple(
    f"pathlib._local.{kind}Path" for kind in ("Posix", "PurePosix", "Windows", "PureWindows")
)

_MAKERS: dict[str, Callable[[Values, Call], Any]] = {
    **{f"torch._utils._rebuild_tensor{version}": _tensor for version in ("", "_v2", "_v3")},
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch._tensor._rebuild_from_type_v2": _retyped,
    "torch.Size": lambda values, call: tuple(_list(values, call)),
    "torch.device": _device,
    "collections.OrderedDict": _ordered,
    "collections.Counter": lambda values, call: values.pairs(call),
    "collections.defaultdict": _defaults,
    "collections.deque": _list,
    "builtins.list": _list,
    "builtins.tuple": lambda values, call: tuple(_list(values, call)),
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.complex": _complex,
    "_codecs.encode": _bytes,
    "copyreg._reconstructor": _old_style,
    **dict.fromkeys(_HISTORIES, _history),
    **dict.fromkeys(_DICTS, lambda values, call: values.pairs(call)),
    **dict.fromkeys(_CONFIGS, _config),
    **dict.fromkeys((*_NAMESPACES, *_DEEPSPEED), _namespace),
    "deepspeed.runtime.zero.config.ZeroStageEnum": _first,
    **dict.fromkeys(_PATHS, _text_of_path),
    "numpy.dtype": _dtype,
    **{f"{room}.multiarray._reconstruct": _array for room in _NUMPY},
    **{f"{room}.multiarray.scalar": _scalar for room in _NUMPY},
    **{f"{room}.numeric._frombuffer": _buffer for room in _NUMPY},
}
# Names that may stand in a pickle besides: types, and what a history keeps that is never looked at.
_BARE = ("numpy.ndarray", "torch.Tensor", "builtins.object", "builtins.getattr", "builtins.int", "builtins.float")
_STATISTICS = [f"{name}.{method}" for name in _HISTORIES for method in ("min", "max", "mean", "current")]
ALLOWED = frozenset({*_STATISTICS, *_MAKERS, *_BARE, *STORAGE_TYPES, *DTYPES})
_SHOWN = {
    **dict.fromkeys(_HISTORIES, "HistoryBuffer"),
    **dict.fromkeys((name for name in _DICTS if name != "builtins.dict"), "ConfigDict"),
    **dict.fromkeys(_CONFIGS, "Config"),
    **dict.fromkeys(_NAMESPACES, "Namespace"),
    **dict.fromkeys(_DEEPSPEED, "DeepSpeed object"),
    **dict.fromkeys(_PATHS, "path"),
    **{f"{room}.multiarray._reconstruct": "NumPy array" for room in _NUMPY},
    **{f"{room}.numeric._frombuffer": "NumPy array" for room in _NUMPY},
    **{f"{room}.multiarray.scalar": "NumPy number" for room in _NUMPY},
    "collections.defaultdict": "defaultdict",
    "collections.deque": "deque",
}

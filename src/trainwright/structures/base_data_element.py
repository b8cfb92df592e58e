"""What belongs to one sample: annotations, predictions, and facts about it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainwright.base.text import brief, did_you_mean
from trainwright.structures.errors import FieldError, FieldNameError, FieldTypeError, MissingFieldError
from trainwright.structures.field_names import FieldNames

if TYPE_CHECKING:
    from typing_extensions import Self

_OWN = ("_metainfo_fields", "_data_fields")


class BaseDataElement:
    """Named values in two halves: *data*, such as boxes and scores, and *metainfo*, facts such as the image's size.

    Both are read as attributes. ``element.name = value`` sets data; metainfo is set by :meth:`set_metainfo`, which
    copies it. ``in``, ``get``, ``pop``, ``del`` see both halves; ``keys``, ``values``, ``items`` see data. Fields keep
    the order in which they came. Elements may hold elements.

    The methods of tensors (``to``, ``cpu``, ``cuda``, ``detach``, ``numpy``, ...) give a new element in which the
    tensors, and those of elements inside, are converted; everything else is shared with this one.

    A subclass may have a field as a property that checks its type: the setter calls
    ``self.set_field(value, "_name", dtype=...)``, the deleter ``del self._name``. The field is called ``name`` then.
    """

    _metainfo_fields: FieldNames
    _data_fields: FieldNames

    def __init__(self, *, metainfo: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self._metainfo_fields = FieldNames()
        self._data_fields = FieldNames()
        if metainfo is not None:
            self.set_metainfo(metainfo=metainfo)
        if kwargs:
            self.set_data(kwargs)

    # Setting

    def set_metainfo(self, metainfo: dict[str, Any]) -> None:
        """Add facts, or replace those of the same name, by deep copies."""
        if not isinstance(metainfo, dict):
            raise FieldTypeError(f"metainfo should be a dict of names and values, got {_typed(metainfo)}")
        for name, value in copy.deepcopy(metainfo).items():
            self.set_field(name=name, value=value, field_type="metainfo", dtype=None)

    def set_data(self, data: dict[str, Any]) -> None:
        """Add data, or replace that of the same name; properties of a subclass check theirs."""
        if not isinstance(data, dict):
            raise FieldTypeError(f"data should be a dict of names and values, got {_typed(data)}")
        for name, value in data.items():
            setattr(self, name, value)

    def update(self, instance: BaseDataElement) -> None:
        """Take over all that another element has."""
        if not isinstance(instance, BaseDataElement):
            raise FieldTypeError(f"instance should be a BaseDataElement, got {_typed(instance)}")
        self.set_metainfo(dict(instance.metainfo_items()))
        self.set_data(dict(instance.items()))

    def set_field(
        self,
        value: Any,
        name: str,
        dtype: type | tuple[type, ...] | None = None,
        field_type: str = "data",
    ) -> None:
        """Set one field of "data" or "metainfo"; with `dtype`, only a value of that type. For setters of properties."""
        if field_type not in ("metainfo", "data"):
            raise FieldError(f"field_type must be 'metainfo' or 'data', got {field_type!r}")
        if dtype is not None and not isinstance(value, dtype):
            raise FieldTypeError(f"{name.lstrip('_')} should be a {dtype}, got {_typed(value)}")
        is_data = field_type == "data"
        if name in (self._metainfo_fields if is_data else self._data_fields):
            here, there = ("data", "metainfo") if is_data else ("metainfo", "data")
            knob = "set_metainfo(dict(...)) changes it" if is_data else "an assignment changes it"
            raise FieldNameError(
                f"Cannot set {name} to be a field of {here} because {name} is already a {there} field; {knob}, del or "
                "pop() frees the name"
            )
        super().__setattr__(name, value)  # first, so that a property that refuses the value leaves no name behind
        (self._data_fields if is_data else self._metainfo_fields).add(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field of data."""
        if name not in _OWN:
            self.set_field(name=name, value=value, field_type="data", dtype=None)
        elif hasattr(self, name):
            raise FieldNameError(_kept(name))
        else:
            super().__setattr__(name, value)

    # New elements

    def new(self, *, metainfo: dict[str, Any] | None = None, **kwargs: Any) -> Self:
        """An element of the same class with this one's metainfo and data, or in place of either, the one given."""
        element = self.__class__()
        element.set_metainfo(dict(self.metainfo_items()) if metainfo is None else metainfo)
        element.set_data(kwargs if kwargs else dict(self.items()))
        return element

    def clone(self) -> Self:
        """An element with copied metainfo and the same data, which is not copied."""
        element = self.__class__()
        element.set_metainfo(dict(self.metainfo_items()))
        element.set_data(dict(self.items()))
        return element

    def __copy__(self) -> Self:
        element = self.__class__.__new__(self.__class__)
        fields = {name: FieldNames(self.__dict__[name]) for name in _OWN}
        element.__dict__.update(self.__dict__, **fields)
        return element

    # Looking

    def keys(self) -> list[str]:
        """Names of data."""
        cls, fields = type(self), self._data_fields
        return [
            name
            for name in fields
            if not (name[:1] == "_" and name[1:] in fields and isinstance(getattr(cls, name[1:], None), property))
        ]

    def metainfo_keys(self) -> list[str]:
        """Names of metainfo."""
        return list(self._metainfo_fields)

    def values(self) -> list[Any]:
        """Values of data."""
        return [getattr(self, name) for name in self.keys()]

    def metainfo_values(self) -> list[Any]:
        """Values of metainfo."""
        return [getattr(self, name) for name in self.metainfo_keys()]

    def all_keys(self) -> list[str]:
        """Names of metainfo, then of data."""
        return self.metainfo_keys() + self.keys()

    def all_values(self) -> list[Any]:
        """Values of metainfo, then of data."""
        return self.metainfo_values() + self.values()

    def all_items(self) -> Iterator[tuple[str, Any]]:
        """Names and values of metainfo, then of data."""
        for name in self.all_keys():
            yield name, getattr(self, name)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and values of data."""
        for name in self.keys():
            yield name, getattr(self, name)

    def metainfo_items(self) -> Iterator[tuple[str, Any]]:
        """Names and values of metainfo."""
        for name in self.metainfo_keys():
            yield name, getattr(self, name)

    @property
    def metainfo(self) -> dict[str, Any]:
        """A dict of all metainfo."""
        return dict(self.metainfo_items())

    def get(self, key: str, default: Any = None) -> Any:
        """The field of that name, or the default."""
        return getattr(self, key, default)

    def __contains__(self, item: str) -> bool:
        return item in self._data_fields or item in self._metainfo_fields

    # Taking out

    def pop(self, *args: Any) -> Any:
        """``pop(name)`` or ``pop(name, default)``: take a field out, and give its value."""
        if not 1 <= len(args) <= 2:
            raise FieldTypeError(f"pop takes a name and a default, which may be left out, got {len(args)} arguments")
        name = args[0]
        if name in self:
            if name not in self.__dict__:  # a property, which keeps its value elsewhere
                value = getattr(self, name)
                delattr(self, name)
                return value
            self._metainfo_fields.discard(name)
            self._data_fields.discard(name)
            return self.__dict__.pop(name)
        if len(args) == 2:
            return args[1]
        near = did_you_mean(name, self.all_keys())
        raise MissingFieldError(
            f"{name} is not contained in metainfo or data.{near} pop({name!r}, default) allows that"
        )

    def __delattr__(self, item: str) -> None:
        if item in _OWN:
            raise FieldNameError(_kept(item))
        super().__delattr__(item)
        self._metainfo_fields.discard(item)
        self._data_fields.discard(item)

    __delitem__ = __delattr__

    # The methods of tensors

    def _converted(self, convert: Callable[[Any], Any], is_one: Callable[[Any], bool] | None = None) -> Self:
        element = self.new()
        for name, value in self.items():
            if isinstance(value, (torch.Tensor, BaseDataElement)) if is_one is None else is_one(value):
                element.set_data({name: convert(value)})
        return element

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As ``Tensor.to``, for everything that has a method ``to``."""
        return self._converted(lambda value: value.to(*args, **kwargs), lambda value: hasattr(value, "to"))

    def cpu(self) -> Self:
        """On the CPU."""
        return self._converted(lambda value: value.cpu())

    def cuda(self) -> Self:
        """On the current CUDA device."""
        return self._converted(lambda value: value.cuda())

    def musa(self) -> Self:
        """On the current MUSA device."""
        return self._converted(lambda value: value.musa())

    def npu(self) -> Self:
        """On the current Ascend device."""
        return self._converted(lambda value: value.npu())

    def mlu(self) -> Self:
        """On the current Cambricon device."""
        return self._converted(lambda value: value.mlu())

    def detach(self) -> Self:
        """Outside of the graph of gradients."""
        return self._converted(lambda value: value.detach())

    def numpy(self) -> Self:
        """Arrays in place of tensors, detached and on the CPU."""
        return self._converted(lambda value: value.detach().cpu().numpy())

    def to_tensor(self) -> Self:
        """Tensors in place of arrays, which share their memory."""
        return self._converted(
            lambda value: torch.from_numpy(value) if isinstance(value, np.ndarray) else value.to_tensor(),
            lambda value: isinstance(value, (np.ndarray, BaseDataElement)),
        )

    def to_dict(self) -> dict[str, Any]:
        """A dict of metainfo and data, with dicts in place of elements."""
        return {
            name: value.to_dict() if isinstance(value, BaseDataElement) else value for name, value in self.all_items()
        }

    def __repr__(self) -> str:
        return _shown(self)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n{name}: {_indented(_shown(inner))}" for name, inner in value.items())
    if not isinstance(value, BaseDataElement):
        return repr(value)
    meta, data = (_indented(_shown(dict(items))) for items in (value.metainfo_items(), value.items()))
    name = type(value).__name__
    return f"<{name}(\n\n    META INFORMATION{meta}\n\n    DATA FIELDS{data}\n) at {hex(id(value))}>"


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def _typed(value: Any) -> str:
    return f"{brief(value)} of type {type(value).__name__}"


def _kept(name: str) -> str:
    return f"{name} has been used as a private attribute, which is immutable: it holds the names of the fields"

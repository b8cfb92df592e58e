"""Values that each have one entry for every instance, such as a box and a score for every object in an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from typing import Any, Union

import numpy as np
import torch

from trainwright.base.text import brief
from trainwright.structures.base_data_element import _OWN, BaseDataElement
from trainwright.structures.errors import FieldError, FieldTypeError

_cuda: Any = torch.cuda  # its types of tensors are put there at run time
BoolTypeTensor: Any = Union[torch.BoolTensor, _cuda.BoolTensor]  # noqa: UP007 - callers look into its __args__
LongTypeTensor: Any = Union[torch.LongTensor, _cuda.LongTensor]  # noqa: UP007
IndexType: Any = Union[str, slice, int, list, LongTypeTensor, BoolTypeTensor, np.ndarray]  # noqa: UP007


class InstanceData(BaseDataElement):
    """An element whose fields all have the same length, which is its own.

    A field is a tensor, an array, a list, a tuple, a str, or an object of a class with ``__len__``, ``__getitem__``,
    which takes slices, and a static method ``cat``, which joins a list of them. ``element[index]`` picks instances in
    all of them, :meth:`cat` joins elements.
    """

    def __setattr__(self, name: str, value: Sized) -> None:
        if name not in _OWN:
            if not isinstance(value, Sized):
                raise FieldTypeError(
                    f"value must contain `__len__` attribute: {name} has one entry for each instance, got "
                    f"{brief(value)} of type {type(value).__name__}; set_metainfo(dict(...)) takes single values"
                )
            n = len(self)
            if n > 0 and len(value) != n:
                raise FieldError(
                    f"The length of values {len(value)} is not consistent with the length of this InstanceData {n}, "
                    f"in which {name} is set: all fields have one entry for each instance"
                )
        super().__setattr__(name, value)

    __setitem__ = __setattr__

    def __getitem__(self, item: IndexType) -> Any:
        """The field of a name; or an element of the instances that are picked by a number (one instance, so the
        length is 1), a slice, or a list, array or tensor of numbers or of one bool for each instance.
        """
        if isinstance(item, str):
            return getattr(self, item)
        index = self._index(item)
        picked = self.__class__(metainfo=self.metainfo)
        places: list[int] | None = None
        for name, value in self.items():
            if isinstance(index, slice) or isinstance(value, (torch.Tensor, InstanceData)):
                picked[name] = value[index]
            elif isinstance(value, np.ndarray):
                picked[name] = value[index.cpu().numpy()]
            else:
                if places is None:
                    places = (index.nonzero().view(-1) if index.dtype == torch.bool else index).tolist()
                picked[name] = _picked(name, value, places)
        return picked

    def _index(self, item: Any) -> slice | torch.Tensor:
        n = len(self)
        if isinstance(item, slice):
            return item
        if isinstance(item, int):
            if not -n <= item < n:
                raise IndexError(f"Index {item} out of range! There are {n} instances")
            return slice(item, None, n)  # one, with its dimension kept
        if isinstance(item, list):
            item = np.array(item) if item else np.empty(0, np.int64)
        if isinstance(item, np.ndarray) and item.dtype.kind in "bi":
            item = torch.from_numpy(item.astype(np.int64) if item.dtype.kind == "i" else item)
        if not isinstance(item, torch.Tensor) or item.dtype not in (torch.int64, torch.bool):
            kind = f"{type(item).__name__}{f' of {item.dtype}' if hasattr(item, 'dtype') else ''}"
            raise FieldTypeError(
                "instances are picked by a name, a number, a slice, or a list, array or tensor of integers or bools, "
                f"got {kind}: {brief(item)}"
            )
        if item.dim() != 1:
            raise FieldError(
                "Only support to get the values along the first dimension: the index must have one dimension, got the "
                f"shape {tuple(item.shape)}"
            )
        if item.dtype == torch.bool and len(item) != n:
            raise FieldError(
                f"The shape of the input(BoolTensor) {len(item)} does not match the number of instances, {n}: it needs "
                "one bool for each"
            )
        return item

    @staticmethod
    def cat(instances_list: Sequence[InstanceData]) -> InstanceData:
        """All instances of several elements, which need the same fields; metainfo and class are those of the first.

        Of a single element, that element itself.
        """
        if not instances_list:
            raise FieldError("there is nothing to join: cat needs one InstanceData at least, got none")
        odd = [element for element in instances_list if not isinstance(element, InstanceData)]
        if odd:
            raise FieldTypeError(f"cat joins InstanceData, got {type(odd[0]).__name__}: {brief(odd[0])}")
        first = instances_list[0]
        if len(instances_list) == 1:
            return first
        for n, element in enumerate(instances_list):
            lone = sorted(set(element.all_keys()) ^ set(first.all_keys()))
            if lone:
                raise FieldError(
                    "There are different keys in `instances_list`, which may cause the cat operation to fail. Elements "
                    f"0 and {n} do not both have {', '.join(lone)}: give all the same fields"
                )
        joined = first.__class__(metainfo=first.metainfo)
        for name, value in first.items():
            joined[name] = _joined(name, value, [element[name] for element in instances_list])
        return joined

    def __len__(self) -> int:
        first = next(self.items(), None)
        return 0 if first is None else len(first[1])


def _picked(name: str, value: Any, places: list[int]) -> Any:
    if isinstance(value, str):
        return "".join(value[place] for place in places)
    if isinstance(value, (list, tuple)):
        entries = [value[place] for place in places]
        return entries if isinstance(value, list) else tuple(entries)
    if not (hasattr(value, "__getitem__") and hasattr(value, "cat")):
        raise FieldTypeError(
            f"The type of `{name}` is `{type(value)}`, which has no attribute of `cat`, so it does not support slice "
            "with `bool`, or with a list of numbers: give the class a static method cat(list), or use a slice"
        )
    n = len(value)
    parts: Iterable[slice] = [slice(place, None, n) for place in places] if places else [slice(None, 0, None)]
    return value.cat([value[part] for part in parts])


def _joined(name: str, first: Any, values: list[Any]) -> Any:
    if isinstance(first, torch.Tensor):
        return torch.cat(values, dim=0)
    if isinstance(first, np.ndarray):
        return np.concatenate(values, axis=0)
    if isinstance(first, (str, list, tuple)):
        joined: Any = first[:]
        for value in values[1:]:
            joined += value
        return joined
    if hasattr(first, "cat"):
        return first.cat(values)
    raise FieldTypeError(
        f"The type of `{name}` is `{type(first)}` which has no attribute of `cat`: give the class a static method "
        "cat(list), or leave the field out"
    )

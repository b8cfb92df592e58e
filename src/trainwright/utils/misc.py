"""Small helpers: casts, checks of sequences, things by name, requirements, what is deprecated."""

from __future__ import annotations

import functools
import inspect
import logging
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from itertools import chain, repeat
from typing import Any

from trainwright.base.errors import demand
from trainwright.base.logs import print_log

# Scripts and tests read this sentence on stdout.
_MISSING = 'Prerequisites "{}" are required in method "{}" but not found, please install them first.'


def _ntuple(n: int) -> Callable[[Any], Any]:
    def parse(x: Any) -> Any:
        return x if isinstance(x, Iterable) else tuple(repeat(x, n))

    return parse


to_1tuple = _ntuple(1)
to_2tuple = _ntuple(2)
to_3tuple = _ntuple(3)
to_4tuple = _ntuple(4)
to_ntuple = _ntuple


def is_str(x: Any) -> bool:
    return isinstance(x, str)


def import_modules_from_strings(imports: Any, allow_failed_imports: bool = False) -> Any:
    """Import one module or a list of modules by name. One that fails is None, with a warning, if that is allowed."""
    if not imports:
        return None
    names = [imports] if isinstance(imports, str) else imports
    if not isinstance(names, list):
        raise TypeError(f"custom_imports must be a str or a list of str, got {names!r} of type {type(names).__name__}")
    modules = [_import_named(name, allow_failed_imports) for name in names]
    return modules[0] if isinstance(imports, str) else modules


def _import_named(name: Any, may_fail: bool) -> Any:
    if not isinstance(name, str):
        raise TypeError(f"a module to import must be named by a str, got {name!r} of type {type(name).__name__}")
    try:
        return import_module(name)
    except ImportError as error:
        if not may_fail:
            raise ImportError(f"cannot import {name!r}: {error}", name=error.name, path=error.path) from error
        warnings.warn(f"{name} cannot be imported and is left out: {error}", UserWarning, stacklevel=3)
        return None


def iter_cast(inputs: Any, dst_type: Any, return_type: Any = None) -> Any:
    """The elements as `dst_type`: an iterator, or what `return_type` makes of it."""
    if not isinstance(inputs, Iterable):
        raise TypeError(f"inputs must be iterable, got {inputs!r} of type {type(inputs).__name__}")
    if not isinstance(dst_type, type):
        raise TypeError(f"dst_type must be a type, got {dst_type!r}")
    cast: Iterator[Any] = map(dst_type, inputs)
    return cast if return_type is None else return_type(cast)


def list_cast(inputs: Any, dst_type: Any) -> Any:
    return iter_cast(inputs, dst_type, return_type=list)


def tuple_cast(inputs: Any, dst_type: Any) -> Any:
    return iter_cast(inputs, dst_type, return_type=tuple)


def is_seq_of(seq: Any, expected_type: Any, seq_type: Any = None) -> bool:
    """Whether it is a sequence (of `seq_type`) with items of `expected_type` alone."""
    demand(seq_type is None or isinstance(seq_type, type), f"seq_type must be a type, got {seq_type!r}")
    items: Any = seq
    return isinstance(seq, seq_type or Sequence) and all(isinstance(item, expected_type) for item in items)


def is_list_of(seq: Any, expected_type: Any) -> bool:
    return is_seq_of(seq, expected_type, seq_type=list)


def is_tuple_of(seq: Any, expected_type: Any) -> bool:
    return is_seq_of(seq, expected_type, seq_type=tuple)


def slice_list(in_list: list[Any], lens: Any) -> list[list[Any]]:
    """Consecutive parts of the list, of the given length or lengths."""
    if isinstance(lens, int):
        demand(len(in_list) % lens == 0, f"{len(in_list)} items cannot be cut into parts of {lens}")
        lens = [lens] * (len(in_list) // lens)
    if not isinstance(lens, list):
        raise TypeError(f"lens must be an int or a list of int, got {lens!r} of type {type(lens).__name__}")
    if sum(lens) != len(in_list):
        raise ValueError(f"the lengths must add up to the {len(in_list)} items of the list, got {sum(lens)}")
    items = iter(in_list)
    return [[next(items) for _ in range(length)] for length in lens]


def concat_list(in_list: Iterable[Iterable[Any]]) -> list[Any]:
    return list(chain.from_iterable(in_list))


def apply_to(data: Any, expr: Callable[[Any], Any], apply_func: Callable[[Any], Any]) -> Any:
    """`data` with `apply_func` of each element for which `expr` holds, in dicts, lists and tuples of the same types."""
    if isinstance(data, dict):
        found = type(data)()
        for key, value in data.items():
            found[key] = apply_to(value, expr, apply_func)
        return found
    if isinstance(data, (tuple, list)):
        kind: Any = type(data)
        items = [apply_to(item, expr, apply_func) for item in data]
        return kind(*items) if hasattr(data, "_fields") else kind(items)  # a named tuple takes them one by one
    return apply_func(data) if expr(data) else data


def get_object_from_string(obj_name: str) -> Any:
    """The module, or what a module has, at "pkg.module.Class.attribute"; None if there is nothing of that name.

    Where a package has a module and another thing of one name, it is the other thing. An error of a module that is
    there is not swallowed.
    """
    name, *rest = obj_name.split(".")
    try:
        found: Any = import_module(name)
        while rest:
            value = getattr(found, rest[0], None)
            if value is not None and not inspect.ismodule(value):
                break
            name = f"{name}.{rest.pop(0)}"
            found = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        return None
    for part in rest:
        if not hasattr(found, part):
            return None
        found = getattr(found, part)
    return found


def check_prerequisites(
    prerequisites: Any, checker: Callable[[str], bool], msg_tmpl: str = _MISSING
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: a call says what `checker` does not find, and fails."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            required = [prerequisites] if isinstance(prerequisites, str) else prerequisites
            missing = [item for item in required if not checker(item)]
            if missing:
                message = msg_tmpl.format(", ".join(missing), function.__name__)
                sys.stdout.write(f"{message}\n")
                raise RuntimeError(f"Prerequisites not meet. {message}")
            return function(*args, **kwargs)

        return checked

    return wrap


def _check_py_package(package: str) -> bool:
    try:
        import_module(package)
    except ImportError:
        return False
    return True


def _check_executable(cmd: str) -> bool:
    return shutil.which(cmd) is not None


def requires_package(prerequisites: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: the packages must be importable when the function is called."""
    return check_prerequisites(prerequisites, checker=_check_py_package)


def requires_executable(prerequisites: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: the programs must be on the path when the function is called."""
    return check_prerequisites(prerequisites, checker=_check_executable)


def deprecated_api_warning(
    name_dict: dict[str, str], cls_name: str | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: an argument passed under an old name is passed on under the new one, with a DeprecationWarning."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        shown = function.__name__ if cls_name is None else f"{cls_name}.{function.__name__}"
        names = inspect.getfullargspec(function).args

        def warn(old: str, new: str) -> None:
            warnings.warn(
                f'"{old}" is deprecated in `{shown}`, please use "{new}" instead', DeprecationWarning, stacklevel=3
            )

        @functools.wraps(function)
        def renamed(*args: Any, **kwargs: Any) -> Any:
            for old, new in name_dict.items():
                if old in names[: len(args)]:
                    warn(old, new)
                if old in kwargs:
                    demand(new not in kwargs, f"{shown} got {old!r}, and {new!r} which replaces it: leave out {old!r}")
                    warn(old, new)
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return renamed

    return decorate


def is_method_overridden(method: str, base_class: type, derived_class: Any) -> bool:
    """Whether the class, or the class of the instance, has a method other than the base's."""
    demand(isinstance(base_class, type), f"base_class must be a class and no instance of one, but got {base_class!r}")
    derived = derived_class if isinstance(derived_class, type) else type(derived_class)
    return bool(getattr(derived, method) != getattr(base_class, method))


def has_method(obj: object, method: str) -> bool:
    return callable(getattr(obj, method, None))


def deprecated_function(
    since: str, removed_in: str, instructions: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: a call logs that the function is deprecated and what to do instead, and its docstring begins so."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        name = f"{function.__module__}.{function.__name__}"
        message = (
            f"'{name}' is deprecated in version {since} and will be removed in version {removed_in}. "
            f"Please {instructions}."
        )

        @functools.wraps(function)
        def warned(*args: Any, **kwargs: Any) -> Any:
            print_log(message, logger="current", level=logging.WARNING)
            return function(*args, **kwargs)

        note = (
            f".. deprecated:: {since}\n    Deprecated and will be removed in version {removed_in}.\n"
            f"    Please {instructions}.\n"
        )
        warned.__doc__ = "\n\n".join([note, *_indented(function.__doc__ or "")])
        return warned

    return decorate


def _indented(docstring: str) -> list[str]:
    """The summary and what follows it, each in by four blanks whatever it was in by."""
    summary, blank, rest = docstring.partition("\n\n")
    flat = "\n".join(textwrap.dedent(line) for line in summary.split("\n"))
    parts = [flat, textwrap.dedent(rest)] if blank else [flat]
    return [textwrap.indent(part, "    ") for part in parts]

"""Would this call work? Read from the signature, without making the call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any

from trainwright.base.text import did_you_mean

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def argument_errors(obj: Callable[..., Any], kwargs: Mapping[str, Any], injected: Iterable[str] = ()) -> list[str]:
    """What is wrong with calling `obj(**kwargs)`, where the caller will add the arguments named in `injected`.

    An empty list means that nothing wrong can be seen: an object without a readable signature is never judged, and one
    that takes **kwargs accepts every name.
    """
    parameters = _parameters(obj)
    if parameters is None:
        return []
    accepted = [name for name, parameter in parameters.items() if parameter.kind in _BY_NAME]
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    given = {*kwargs, *injected}
    errors = []
    if not takes_any:
        for name in kwargs:
            if name not in accepted:
                unused = [a for a in accepted if a not in given]
                errors.append(f"unknown argument {name!r}.{did_you_mean(str(name), unused) or _accepts(accepted)}")
    missing = [name for name in accepted if parameters[name].default is inspect.Parameter.empty and name not in given]
    errors += [f"missing argument {name!r}." for name in missing]
    for name, parameter in parameters.items():
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and parameter.default is inspect.Parameter.empty:
            errors.append(f"argument {name!r} cannot be given by name.")
    return errors


def _parameters(obj: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    if inspect.isclass(obj) and type(obj).__call__ is type.__call__:
        made_by: list[Any] = [obj.__init__, obj.__new__]
        is_python = any(isinstance(maker, FunctionType) for maker in made_by)
        if not is_python and made_by != [object.__init__, object.__new__]:
            return None  # written in C: inspect would show what a base class of it takes
    try:
        return inspect.signature(obj).parameters
    except (TypeError, ValueError):
        return None


def _accepts(accepted: list[str]) -> str:
    return f" It accepts: {', '.join(accepted)}." if accepted else " It accepts no arguments."

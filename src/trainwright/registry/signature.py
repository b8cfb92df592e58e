"""Would this call work? Read from the signature, without making the call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import FunctionType
from typing import Any, Literal, NamedTuple

from trainwright.base.text import any_of, did_you_mean, near_names
from trainwright.registry.forwarding import passed_on

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class WrongArgument(NamedTuple):
    """One thing wrong with a call: the argument, what is wrong, in words too, and whether a known name is near it."""

    name: str
    kind: Literal["unknown", "missing", "positional"]
    text: str
    has_near: bool = False


class Argument(NamedTuple):
    """An argument that a call takes, and the function that it is written in."""

    parameter: inspect.Parameter
    function: Any

    @property
    def is_required(self) -> bool:
        return self.parameter.default is inspect.Parameter.empty


class Arguments(NamedTuple):
    """What a call takes by name; `is_open` when there may be more that cannot be seen."""

    by_name: dict[str, Argument]
    positional_only: list[str]
    is_open: bool


def argument_errors(obj: Callable[..., Any], kwargs: Mapping[str, Any], injected: Iterable[str] = ()) -> list[str]:
    """What is wrong with calling `obj(**kwargs)`, where the caller will add the arguments named in `injected`.

    An empty list means that nothing wrong can be seen: an object without a readable signature is never judged, and one
    that takes **kwargs accepts every name.
    """
    return [wrong.text for wrong in wrong_arguments(obj, kwargs, injected)]


def wrong_arguments(
    obj: Callable[..., Any], kwargs: Iterable[str], injected: Iterable[str] = ()
) -> list[WrongArgument]:
    """As `argument_errors`, each with the argument that it is about."""
    arguments = arguments_of(obj)
    if arguments is None:
        return []
    accepted = list(arguments.by_name)
    names = list(kwargs)
    given = {*names, *injected}
    found = []
    for name in names:
        if name not in accepted and not arguments.is_open:
            near = did_you_mean(str(name), [a for a in accepted if a not in given])
            if not near:  # a misspelt override stands beside what it was to override
                near = any_of(near_names(name, [a for a in accepted if a in names], n=1, cutoff=0.8))
            text = f"unknown argument {name!r}.{near or _accepts(accepted)}"
            found.append(WrongArgument(name, "unknown", text, bool(near)))
    missing = [name for name, argument in arguments.by_name.items() if argument.is_required and name not in given]
    found += [WrongArgument(name, "missing", f"missing argument {name!r}.") for name in missing]
    for name in arguments.positional_only:
        found.append(WrongArgument(name, "positional", f"argument {name!r} cannot be given by name."))
    return found


def arguments_of(obj: Callable[..., Any]) -> Arguments | None:
    """What calling `obj` takes, or None where that cannot be known.

    A constructor that hands its ``**kwargs`` on to ``super().__init__``, and does nothing else with them, also takes
    what the next class takes.
    """
    if not inspect.isclass(obj):
        return _own_arguments(obj, _function(obj))
    if _is_made_in_c(obj):
        return None
    makers = [cls for cls in obj.__mro__ if isinstance(vars(cls).get("__init__"), FunctionType)]
    arguments = _own_arguments(obj, vars(makers[0])["__init__"] if makers else obj.__new__)
    taken: set[str] = set()  # given by a constructor on the way, so not to be given again
    for n, cls in enumerate(makers):
        if arguments is None or not arguments.is_open:
            break
        passed = passed_on(cls)
        following = _next_arguments(makers[n + 1 :])
        if passed is None or following is None:
            break
        taken.update(passed.names, list(following.by_name)[: passed.n_positional])
        arguments = _joined(arguments, following, {*taken, *arguments.by_name})
    return arguments


def _joined(own: Arguments, following: Arguments, taken: set[str]) -> Arguments:
    rest = {name: argument for name, argument in following.by_name.items() if name not in taken}
    return Arguments({**own.by_name, **rest}, own.positional_only, following.is_open)


def _next_arguments(makers: list[type]) -> Arguments | None:
    if not makers:
        return None
    function = vars(makers[0])["__init__"]
    return _own_arguments(partial(function, None), function)  # without `self`


def _own_arguments(obj: Callable[..., Any], function: Any) -> Arguments | None:
    try:
        parameters = inspect.signature(obj).parameters.values()
    except (TypeError, ValueError):
        return None
    by_name = {p.name: Argument(p, function) for p in parameters if p.kind in _BY_NAME}
    only = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    required = [name for name in only if inspect.signature(obj).parameters[name].default is inspect.Parameter.empty]
    return Arguments(by_name, required, any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters))


def _function(obj: Any) -> Any:
    """The function that carries the annotations of what is called."""
    while isinstance(obj, partial):
        obj = obj.func
    return obj.__init__ if inspect.isclass(obj) else obj


def _is_made_in_c(cls: type) -> bool:
    """Whether `inspect` would show what a base class of it takes."""
    if type(cls).__call__ is not type.__call__:
        return False
    made_by: list[Any] = [cls.__init__, cls.__new__]  # type: ignore[misc]
    is_python = any(isinstance(maker, FunctionType) for maker in made_by)
    return not is_python and made_by != [object.__init__, object.__new__]


def _accepts(accepted: list[str]) -> str:
    return f" It accepts: {', '.join(accepted)}." if accepted else " It accepts no arguments by name."

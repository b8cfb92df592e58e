"""How hooks of MMCV 1.x are spoken to: ``method(runner)``, the data of the moment being on the runner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainwright.compat.mmcv1.runner.hooks.hook import FALLS_TO, Hook, overridden
from trainwright.engine import Dialect, Event, HookTable


def takes_part(hook: Any, name: str) -> bool:
    """Whether ``hook`` does anything at the stage ``name``, by a method of its class or one set on itself."""
    points = name, next((method for method, stages in FALLS_TO.items() if name in stages), name)
    if any(point in vars(hook) for point in points):
        return True
    return hook.idle_at(name) is not True and any(overridden(hook, point) for point in points)


def _bind(method: Callable[[Any], Any], parameters: tuple[str, ...]) -> Callable[..., Any]:
    if not parameters:
        return method
    return lambda runner, *_: method(runner)


MMCV = Dialect(Hook, {event: event.value for event in Event if event.value in Hook.stages}, takes_part, _bind)


class StageTable(HookTable):
    """The hooks of a runner.

    A hook may have any method, and ``runner.call_hook`` calls it by name; so names are not checked. Where a runner has
    a ``call_hook`` of its own, other than ``plain_call_hook``, every stage goes through that.
    """

    def __init__(self, runner: Any, plain_call_hook: Callable[..., Any]) -> None:
        super().__init__(runner, MMCV)
        self._plain_call_hook = plain_call_hook
        # Lists that stay the same ones: a hook that another one registers is called at that stage already.
        self._lists: dict[Event, list[Callable[..., Any]]] = {event: [] for event in MMCV.points}

    def _check_names(self, hook: Any) -> None:
        pass

    def rebuild(self) -> None:
        """Make the tables anew, as before each epoch: users change hooks, and their list, by hand."""
        super().rebuild()
        is_plain = getattr(self.host.call_hook, "__func__", None) is self._plain_call_hook
        for event, name in MMCV.points.items():
            self._lists[event][:] = self.calls[event] if is_plain else (_by_name(name),)
        self.calls.update(self._lists)  # type: ignore[arg-type]


def _by_name(name: str) -> Callable[..., Any]:
    return lambda runner, *_: runner.call_hook(name)

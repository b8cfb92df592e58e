"""MMEngine's MessageHub, as a face over the metric store of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, ClassVar

import numpy as np
import torch

from trainwright.base.defaults import defaults
from trainwright.base.errors import InstanceNameError, RuleError, RuleTypeError
from trainwright.base.logs import MMLogger
from trainwright.state.clock import Clock
from trainwright.state.history import HistoryBuffer
from trainwright.state.metrics import MetricStore, Value
from trainwright.state.plain import plain_items

_NUMBERS = (torch.Tensor, int, float, np.number)


class MessageHub:
    """Scalars over time (``log_scalars``) and the latest of anything else (``runtime_info``).

    Reading a scalar flushes the store, which synchronises with the device; updating never does.
    """

    _instance_dict: ClassVar[dict[str, MessageHub]] = {}
    _active: ClassVar[list[MessageHub]] = []

    def __init__(
        self,
        name: str,
        log_scalars: Mapping[str, HistoryBuffer] | None = None,
        runtime_info: Mapping[str, Any] | None = None,
        resumed_keys: Mapping[str, bool] | None = None,
        metrics: MetricStore | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise InstanceNameError(f"name of a MessageHub must be a non-empty string, got {name!r}")
        self.name = self._instance_name = name
        self.metrics = metrics if metrics is not None else MetricStore(Clock())
        parts = {"log_scalars": log_scalars, "runtime_info": runtime_info, "resumed_keys": resumed_keys}
        for part, given in parts.items():
            if given is not None and not isinstance(given, Mapping):
                raise RuleTypeError(f"MessageHub {part} must be a dict or None, but got {given!r}.")
        for key, history in (log_scalars or {}).items():
            if not isinstance(history, HistoryBuffer):
                raise RuleTypeError(f"MessageHub log_scalars[{key!r}] must be a HistoryBuffer, but got {history!r}.")
            self.metrics.histories[key] = history
        self._runtime_info: dict[str, Any] = dict(runtime_info or {})
        self._resumed_keys: dict[str, bool] = dict(resumed_keys or {})
        for key in self._resumed_keys:
            if key not in self.metrics.histories and key not in self._runtime_info:
                raise RuleError(f"MessageHub resumed_keys names {key!r}, which is no scalar and no info of it.")
        # Infos that are asked for when they are read, and so cost nothing per iteration.
        self.live: dict[str, Callable[[], Any]] = {}

    @property
    def instance_name(self) -> str:
        """The name under which :meth:`get_instance` finds it."""
        return self.name

    @classmethod
    def get_instance(cls, name: str, **kwargs: Any) -> MessageHub:
        """The hub of that name: of a run that is open, or one kept under it, made with ``kwargs`` if there is none."""
        for hub in cls._active:
            if hub.name == name:
                return hub
        if name not in cls._instance_dict:
            cls._instance_dict[name] = cls(name, **kwargs)
        return cls._instance_dict[name]

    @classmethod
    def check_instance_created(cls, name: str) -> bool:
        """Whether :meth:`get_instance` would find a hub of that name, and not make one."""
        return name in cls._instance_dict or any(hub.name == name for hub in cls._active)

    @classmethod
    def get_current_instance(cls) -> MessageHub:
        """The hub of the run that is open now; outside any run the one that ``get_instance`` made last, which is one
        named as the engine when there is none."""
        if cls._active:
            return cls._active[-1]
        return next(reversed(cls._instance_dict.values())) if cls._instance_dict else cls.get_instance(defaults.package)

    @property
    def log_scalars(self) -> dict[str, HistoryBuffer]:
        """All scalar histories by full name; flushes."""
        self.metrics.flush()
        return self.metrics.histories

    @property
    def _log_scalars(self) -> dict[str, HistoryBuffer]:  # what MMEngine calls it, where tests put histories
        return self.log_scalars

    @_log_scalars.setter
    def _log_scalars(self, histories: dict[str, HistoryBuffer]) -> None:
        self.metrics.flush()
        self.metrics.histories = histories

    @property
    def runtime_info(self) -> dict[str, Any]:
        """The latest of everything that is not a scalar over time."""
        for key, read in self.live.items():
            value = read()
            if value is None:  # not known yet
                self._runtime_info.pop(key, None)
            else:
                self._runtime_info[key] = value
        return self._runtime_info

    @property
    def resumed_keys(self) -> dict[str, bool]:
        """For each name, whether it goes into a checkpoint."""
        return self._resumed_keys

    def update_scalar(
        self, key: str, value: Value | np.ndarray[Any, Any], count: int = 1, resumed: bool = True
    ) -> None:
        """Append one value to the history of ``key`` (such as ``train/loss``); never reads the host."""
        if isinstance(count, bool) or not isinstance(count, int):
            raise RuleTypeError(f"the count of {key!r} must be a whole number, but got {count!r}.")
        self._set_resumed(key, resumed)
        prefix, _, name = key.rpartition("/")
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        if not isinstance(value, _NUMBERS):
            raise RuleTypeError(f"a scalar is one number, but {key!r} was given {value!r} of {type(value).__name__}.")
        self.metrics.put(prefix, {name: value}, count)

    def update_scalars(self, log_dict: Mapping[str, Any], resumed: bool = True) -> None:
        """Append many: ``{key: value}`` or ``{key: {"value": value, "count": n}}``."""
        _need_dict("update_scalars", log_dict)
        for key, value in log_dict.items():
            if isinstance(value, Mapping):
                if "value" not in value:
                    raise RuleError(
                        f"update_scalars got {dict(value)!r} for {key!r}: a dict must have the key 'value' "
                        "(and may have 'count')."
                    )
                count = value.get("count", 1)
                # A count that is an array or a tensor of one element is read here.
                self.update_scalar(key, value["value"], count.item() if hasattr(count, "item") else count, resumed)
            else:
                self.update_scalar(key, value, 1, resumed)

    def update_info(self, key: str, value: Any, resumed: bool = True) -> None:
        """Set the latest value of ``key``; one that was live until now is fixed by it."""
        self._set_resumed(key, resumed)
        self.live.pop(key, None)
        self._runtime_info[key] = value

    def update_info_dict(self, info_dict: Mapping[str, Any], resumed: bool = True) -> None:
        """Set many at once."""
        _need_dict("update_info_dict", info_dict)
        for key, value in info_dict.items():
            self.update_info(key, value, resumed)

    def pop_info(self, key: str, default: Any = None) -> Any:
        """Remove ``key`` and return its value."""
        infos = self.runtime_info
        self.live.pop(key, None)
        return infos.pop(key, default)

    def get_scalar(self, key: str) -> HistoryBuffer:
        """The history of ``key``; flushes. Raises KeyError when nothing was logged under it."""
        histories = self.log_scalars
        if key not in histories:
            raise KeyError(f"{key!r} was not logged; logged so far: {', '.join(sorted(histories)) or 'nothing'}.")
        return histories[key]

    def get_info(self, key: str, default: Any = None) -> Any:
        """The latest value of ``key``."""
        read = self.live.get(key)
        return self._runtime_info.get(key, default) if read is None else read()

    def _set_resumed(self, key: str, resumed: bool) -> None:
        if self._resumed_keys.setdefault(key, resumed) != resumed:
            raise RuleError(
                f"{key!r} was logged with resumed={not resumed} before and now with resumed={resumed}: "
                "one name either goes into checkpoints or does not."
            )

    def state_dict(self) -> dict[str, Any]:
        """Copies of what goes into a checkpoint, in the kinds of MMEngine: ``log_scalars`` has a HistoryBuffer a name.

        An info that cannot be copied is given as it is, and logged. See :meth:`plain_state` for what is saved.
        """
        scalars = {key: deepcopy(value) for key, value in self.log_scalars.items() if self._is_resumed(key)}
        infos = {key: _copied(key, value) for key, value in self.runtime_info.items() if self._is_resumed(key)}
        return {"log_scalars": scalars, "runtime_info": infos, "resumed_keys": dict(self._resumed_keys)}

    def _is_resumed(self, key: str) -> bool:
        return self._resumed_keys.get(key, True)

    def __reduce__(self) -> tuple[Any, ...]:
        return _hub_of, (self.name, self.state_dict())

    def plain_state(self) -> dict[str, Any]:
        """Scalars, infos and flags as tensors and plain data; infos of other kinds are left out and logged."""
        infos = {k: v for k, v in self.runtime_info.items() if self._is_resumed(k)}
        kept, dropped = plain_items(infos)
        if dropped:
            MMLogger.get_current_instance().debug("not saved in the message hub (no plain data): %s", dropped)
        scalars = self.metrics.state_dict()
        scalars = {k: v for k, v in scalars.items() if self._is_resumed(k)}
        flags = {k: flag for k, flag in self._resumed_keys.items() if not flag or k in kept or k in scalars}
        return {"log_scalars": scalars, "runtime_info": kept, "resumed_keys": flags}

    def load_state_dict(self, state_dict: Mapping[str, Any] | MessageHub) -> None:
        """Take over what ``state_dict`` or ``plain_state`` gave, or all that another hub holds.

        A scalar that is no history, and a flag of what is not there, are left out and logged. Raises RuleError where
        one of the three parts is missing: this is no state of a hub.
        """
        if isinstance(state_dict, MessageHub):
            other = state_dict
            kept = {"log_scalars": other.log_scalars, "runtime_info": other.runtime_info}
            state_dict = {**kept, "resumed_keys": other.resumed_keys}
        _need_dict("load_state_dict", state_dict)
        absent = [part for part in ("log_scalars", "runtime_info", "resumed_keys") if part not in state_dict]
        if absent:
            raise RuleError(
                f"the state of a MessageHub has log_scalars, runtime_info and resumed_keys, but {', '.join(absent)} "
                f"not found among the keys given: {', '.join(map(str, state_dict)) or 'none'}."
            )
        scalars = state_dict["log_scalars"]
        histories = {key: value for key, value in scalars.items() if _is_history(value)}
        self.metrics.load_state_dict(
            {key: value.state_dict() if isinstance(value, HistoryBuffer) else value for key, value in histories.items()}
        )
        infos = state_dict["runtime_info"]
        self._runtime_info.update((key, _copied(key, value)) for key, value in infos.items())
        known = self.metrics.histories.keys() | self._runtime_info.keys() | self.live.keys()
        flags = state_dict["resumed_keys"]
        missing = {key for key, flag in flags.items() if flag and key not in known}
        self._resumed_keys.update((key, flag) for key, flag in flags.items() if key not in missing)
        left_out = sorted({*(scalars.keys() - histories.keys()), *missing})
        if left_out:
            text = "left out when a message hub was loaded (neither a history nor an info): %s"
            MMLogger.get_current_instance().warning(text, ", ".join(left_out))


def _is_history(value: Any) -> bool:
    return isinstance(value, HistoryBuffer) or (isinstance(value, Mapping) and "values" in value)


def _copied(key: str, value: Any) -> Any:
    try:
        return deepcopy(value)
    except Exception:  # noqa: BLE001 - whatever an object of a user raises that is not to be copied
        MMLogger.get_current_instance().warning("%r of a message hub cannot be copied, and is given as it is", key)
        return value


def _hub_of(name: str, state: dict[str, Any]) -> MessageHub:
    hub = MessageHub(name)
    hub.load_state_dict(state)
    return hub


def _need_dict(method: str, given: object) -> None:
    if not isinstance(given, Mapping):
        raise RuleTypeError(f"MessageHub.{method} takes a dict, but got {given!r} of type {type(given).__name__}.")

"""MMEngine's MessageHub, as a face over the metric store of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from trainwright.base.errors import TrainwrightError
from trainwright.base.logs import MMLogger
from trainwright.state.clock import Clock
from trainwright.state.history import HistoryBuffer
from trainwright.state.metrics import MetricStore, Value
from trainwright.state.plain import plain_items


class MessageHub:
    """Scalars over time (``log_scalars``) and the latest of anything else (``runtime_info``).

    Reading a scalar flushes the store, which synchronises with the device; updating never does.
    """

    _named: ClassVar[dict[str, MessageHub]] = {}
    _active: ClassVar[list[MessageHub]] = []

    def __init__(self, name: str, metrics: MetricStore | None = None) -> None:
        self.name = name
        self.metrics = metrics if metrics is not None else MetricStore(Clock())
        self._runtime_info: dict[str, Any] = {}
        self._resumed_keys: dict[str, bool] = {}
        # Infos that are asked for when they are read, and so cost nothing per iteration.
        self.live: dict[str, Callable[[], Any]] = {}

    @property
    def instance_name(self) -> str:
        """The name under which :meth:`get_instance` finds it."""
        return self.name

    @classmethod
    def get_instance(cls, name: str) -> MessageHub:
        """The hub of that name: of a run that is open, or one kept under it, made when there is none."""
        for hub in cls._active:
            if hub.name == name:
                return hub
        if name not in cls._named:
            cls._named[name] = cls(name)
        return cls._named[name]

    @classmethod
    def get_current_instance(cls) -> MessageHub:
        """The hub of the run that is open now; outside any run, one named 'trainwright'."""
        return cls._active[-1] if cls._active else cls.get_instance("trainwright")

    @property
    def log_scalars(self) -> dict[str, HistoryBuffer]:
        """All scalar histories by full name; flushes."""
        self.metrics.flush()
        return self.metrics.histories

    @property
    def runtime_info(self) -> dict[str, Any]:
        """The latest of everything that is not a scalar over time."""
        self._runtime_info.update({key: read() for key, read in self.live.items()})
        return self._runtime_info

    @property
    def resumed_keys(self) -> dict[str, bool]:
        """For each name, whether it goes into a checkpoint."""
        return self._resumed_keys

    def update_scalar(self, key: str, value: Value, count: int = 1, resumed: bool = True) -> None:
        """Append one value to the history of ``key`` (such as ``train/loss``); never reads the host."""
        self._set_resumed(key, resumed)
        prefix, _, name = key.rpartition("/")
        self.metrics.put(prefix, {name: value}, count)

    def update_scalars(self, log_dict: Mapping[str, Any], resumed: bool = True) -> None:
        """Append many: ``{key: value}`` or ``{key: {"value": value, "count": n}}``."""
        for key, value in log_dict.items():
            if isinstance(value, Mapping):
                if "value" not in value:
                    raise TrainwrightError(
                        f"update_scalars got {dict(value)!r} for {key!r}: a dict must have the key 'value' "
                        "(and may have 'count')."
                    )
                self.update_scalar(key, value["value"], value.get("count", 1), resumed)
            else:
                self.update_scalar(key, value, 1, resumed)

    def update_info(self, key: str, value: Any, resumed: bool = True) -> None:
        """Set the latest value of ``key``; one that was live until now is fixed by it."""
        self._set_resumed(key, resumed)
        self.live.pop(key, None)
        self._runtime_info[key] = value

    def update_info_dict(self, info_dict: Mapping[str, Any], resumed: bool = True) -> None:
        """Set many at once."""
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
            raise TrainwrightError(
                f"{key!r} was logged with resumed={not resumed} before and now with resumed={resumed}: "
                "one name either goes into checkpoints or does not."
            )

    def state_dict(self) -> dict[str, Any]:
        """Scalars, infos and flags as tensors and plain data; infos of other kinds are left out and logged."""
        infos = {k: v for k, v in self.runtime_info.items() if self._resumed_keys.get(k, True)}
        kept, dropped = plain_items(infos)
        if dropped:
            MMLogger.get_current_instance().debug("not saved in the message hub (no plain data): %s", dropped)
        scalars = self.metrics.state_dict()
        scalars = {k: v for k, v in scalars.items() if self._resumed_keys.get(k, True)}
        return {"log_scalars": scalars, "runtime_info": kept, "resumed_keys": dict(self._resumed_keys)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        self.metrics.load_state_dict(dict(state.get("log_scalars", {})))
        self._runtime_info.update(state.get("runtime_info", {}))
        self._resumed_keys.update(state.get("resumed_keys", {}))

"""The average time that a function or a block takes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from trainwright.base.errors import demand
from trainwright.base.logs import print_log
from trainwright.device import is_cuda_available, is_musa_available
from trainwright.dist import is_main_process


class TimeCounter:
    """Logs, every `log_interval` runs, the average time of the runs since the `warmup_interval`-th, on rank 0.

    A decorator, or the context of a `with` block, which needs a `tag`. All of one tag are one counter, which has the
    settings of the first. `with_sync` waits for the GPU before it looks at the clock. `logger` as for `print_log`.
    """

    instance_dict: ClassVar[dict[str | None, TimeCounter]] = {}

    log_interval: int
    warmup_interval: int
    with_sync: bool
    tag: str | None
    logger: Any
    __count: int
    __pure_inf_time: float
    __start_time: float

    def __new__(
        cls,
        log_interval: int = 1,
        warmup_interval: int = 1,
        with_sync: bool = True,
        tag: str | None = None,
        logger: Any = None,
    ) -> TimeCounter:
        demand(warmup_interval >= 1, f"warmup_interval must be 1 or more, but got {warmup_interval}")
        if tag is not None and tag in cls.instance_dict:
            return cls.instance_dict[tag]
        counter = super().__new__(cls)
        counter.log_interval, counter.warmup_interval, counter.with_sync = log_interval, warmup_interval, with_sync
        counter.tag, counter.logger = tag, logger
        counter.__count = 0
        counter.__pure_inf_time = 0.0
        counter.__start_time = 0.0
        if tag is not None:
            cls.instance_dict[tag] = counter
        return counter

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        if not is_main_process():
            return fn
        if self.tag is None:
            self.tag = fn.__name__

        @functools.wraps(fn)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.__count += 1
            start_s = self._now()
            result = fn(*args, **kwargs)
            self.print_time(self._now() - start_s)
            return result

        return timed

    def __enter__(self) -> None:
        demand(self.tag is not None, "TimeCounter needs a tag to name the block: TimeCounter(tag='forward')")
        if is_main_process():
            self.__count += 1
            self.__start_time = self._now()

    def __exit__(self, *error: Any) -> None:
        if is_main_process():
            self.print_time(self._now() - self.__start_time)

    def print_time(self, elapsed: float) -> None:
        """Count one more run of so many seconds."""
        if self.__count < self.warmup_interval:
            return
        self.__pure_inf_time += elapsed
        if self.__count % self.log_interval == 0:
            average_ms = 1000 * self.__pure_inf_time / (self.__count - self.warmup_interval + 1)
            print_log(
                f"[{self.tag}]-time per run averaged in the past {self.__count} runs: {average_ms:.1f} ms", self.logger
            )

    def _now(self) -> float:
        if self.with_sync:
            if is_cuda_available():
                torch.cuda.synchronize()
            elif is_musa_available():
                torch.musa.synchronize()  # type: ignore[attr-defined]
        return time.perf_counter()

"""From metric histories to the log line and the scalars of one interval."""

from __future__ import annotations

import datetime
import inspect
import re
import resource
import sys
from typing import Any

import numpy as np
import torch

from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigTypeError, RuleError
from trainwright.base.text import did_you_mean
from trainwright.device import get_max_cuda_memory, is_cuda_available
from trainwright.engine.loops.base import pass_length
from trainwright.registry import LOG_PROCESSORS
from trainwright.runner.background_saves import STALL, stalled_s
from trainwright.state import HistoryBuffer

MEAN_PATTERN = r".*(loss|time|data_time|grad_norm).*"
MODES = ("train", "val", "test")
TIMES = ("time", "data_time")


@LOG_PROCESSORS.register_module()
class LogProcessor:
    """Smooths scalars over a window and formats the line (API of mmengine's LogProcessor).

    Names in which ``mean_pattern`` is found are averaged over the last ``window_size`` iterations; the others show
    their newest value. ``custom_cfg`` is a list of
    ``dict(data_src=..., method_name=..., window_size=..., log_name=...)`` with the methods mean, max, min and current
    or one that HistoryBuffer knows by its ``register_statistics``, and a window of n iterations, 'epoch' or 'global'.
    ``by_epoch`` chooses between ``Epoch(train) [1][10/45]`` and ``Iter(train) [10/900]``; None follows the loop.
    ``num_digits`` are shown behind the point. ``log_with_hierarchy`` keeps the stage in the names: ``train/loss``.
    """

    def __init__(
        self,
        window_size: int = 10,
        by_epoch: bool | None = None,
        custom_cfg: list[dict[str, Any]] | None = None,
        num_digits: int = 4,
        log_with_hierarchy: bool = False,
        mean_pattern: str = MEAN_PATTERN,
    ) -> None:
        self.window_size = window_size
        self.by_epoch = by_epoch
        self.custom_cfg = list(custom_cfg or [])
        self.num_digits = num_digits
        self.log_with_hierarchy = log_with_hierarchy
        self.mean_pattern = re.compile(mean_pattern)
        self._averages: dict[str, bool] = {}  # which names match the pattern
        self._check_custom_cfg()

    def _check_custom_cfg(self) -> None:
        names: set[str] = set()
        for item in self.custom_cfg:
            if "data_src" not in item:
                raise RuleError(f"log_processor custom_cfg item {item!r} lacks data_src, the name of a logged scalar.")
            window = item.get("window_size")
            if window == "epoch" and self.by_epoch is False:
                raise RuleError("log_processor window_size='epoch' needs by_epoch=True.")
            self._check_statistic(item)
            name = item.get("log_name", item["data_src"])
            if name in names:
                raise RuleError(f"log_processor custom_cfg writes {name!r} twice: give one of them another log_name.")
            names.add(name)

    @staticmethod
    def _check_statistic(item: dict[str, Any]) -> None:
        name, known = item.get("method_name", "mean"), HistoryBuffer.known_statistics()
        method = HistoryBuffer.method(name) if isinstance(name, str) else None
        if method is None:
            raise RuleError(
                f"log_processor method_name {name!r} is unknown; known: {', '.join(known)}.{did_you_mean(name, known)}"
            )
        window = item.get("window_size")
        if window is not None and not isinstance(window, int) and window not in ("epoch", "global"):
            raise RuleError(f"log_processor window_size {window!r} must be a number, 'epoch' or 'global'.")
        arguments = {key: value for key, value in item.items() if key not in ("data_src", "log_name", "method_name")}
        try:
            inspect.signature(method).bind(None, **arguments)
        except TypeError as error:
            raise RuleError(f"log_processor custom_cfg item {item!r}: {name} takes other arguments: {error}.") from None

    def get_log_after_iter(self, runner: Any, batch_idx: int, mode: str) -> tuple[dict[str, Any], str]:
        """Scalars and line after iteration ``batch_idx`` of ``mode`` (train, val or test); flushes the metrics."""
        _check_mode(mode, MODES)
        custom_cfg = self._parse_windows_size(runner, batch_idx, self.custom_cfg)
        shown = self._collect_scalars(custom_cfg, runner, mode)
        tag = self._collect_scalars(custom_cfg, runner, mode, True) if self.log_with_hierarchy else dict(shown)
        rates = [name for name in shown if name.endswith("lr")]
        parts = [self._place(runner, batch_idx, mode)]
        parts.append(" ".join([f"{name}: {shown.pop(name):.{self.num_digits}e}" for name in rates]))
        eta = runner.message_hub.get_info("eta")
        if eta is not None and all(name in shown for name in TIMES):
            parts.append(f"eta: {datetime.timedelta(seconds=int(eta))}")
            parts += [f"{name}: {shown.pop(name):.{self.num_digits}f}" for name in TIMES]
        if mode != "test" and self._by_epoch(runner):
            tag["epoch"] = self._get_epoch(runner, mode)
        tag["iter"] = runner.iter + 1
        if defaults.logs_host_memory or is_cuda_available():
            tag["memory"] = memory = self._get_max_memory(runner)
            parts.append(f"memory: {memory}")
        # Metrics of an evaluation come with its end; until then the histories hold those of the one before.
        # So does the loss of a loop that computes it; what a hook puts under such a name in each iteration is shown.
        hides_losses = self._loop_has_losses(runner, mode)
        items = [
            f"{name}: {self._text(value)}"
            for name, value in shown.items()
            if mode == "train" or ("loss" in name and not hides_losses)
        ]
        stalled = stalled_s(runner) if mode == "train" else None
        if stalled is not None:
            tag[STALL] = stalled
            items.append(f"{STALL}: {self._text(stalled)}")
        return tag, "".join(f"{part}  " for part in parts) + "  ".join(items)

    def get_log_after_epoch(
        self, runner: Any, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict[str, Any], str]:
        """Scalars and line after the last of ``batch_idx`` iterations of validation or test.

        The metrics come first, each with its newest value, then the mean times of an iteration; ``with_non_scalar``
        adds the metrics that are no numbers to the scalars.
        """
        _check_mode(mode, MODES[1:])
        custom_cfg = self._parse_windows_size(runner, max(batch_idx - 1, 0), self._cfg_after_epoch(runner, mode))
        found = self._collect_scalars(custom_cfg, runner, mode, self.log_with_hierarchy)
        others = self._collect_non_scalars(runner, mode)
        time_names = {*TIMES, *(f"{mode}/{name}" for name in TIMES)}
        times = {name: value for name, value in found.items() if name in time_names}
        histories, has_losses = runner.message_hub.log_scalars, self._loop_has_losses(runner, mode)
        tag: dict[str, Any] = {}
        for name, value in found.items():
            if name not in time_names:
                # What training logs under the same name is another curve.
                full = f"{mode}/{name}"
                is_other = full in histories and (f"train/{name}" in histories or (has_losses and "loss" in name))
                tag[full if is_other else name] = value
        length = self._get_dataloader_size(runner, mode)
        by_epoch = self._by_epoch(runner)
        place = f"[{length}/{length}]"
        if by_epoch and mode == "val":
            place = f"[{self._get_epoch(runner, mode)}]{place}"
        items = [f"{k}: {self._text(v)}" for k, v in [*tag.items(), *others.items(), *times.items()]]
        line = f"{'Epoch' if by_epoch else 'Iter'}({mode}) {place}    " + "  ".join(items)
        return {**tag, **(others if with_non_scalar else {}), **times}, line

    def _cfg_after_epoch(self, runner: Any, mode: str) -> list[dict[str, Any]]:
        """``custom_cfg`` and what else is asked for: times over the whole pass, of metrics the newest value, also of
        one that is called a loss."""
        custom_cfg = list(self.custom_cfg)
        taken = {item.get("log_name", item["data_src"]) for item in custom_cfg}
        for full in runner.message_hub.log_scalars:
            if full.startswith(f"{mode}/"):
                name = self._remove_prefix(full, f"{mode}/")
                how = {"method_name": "current"}
                if name in TIMES:
                    how = {"method_name": "mean", "window_size": "epoch"}
                if name not in taken:
                    custom_cfg.append({"data_src": name, **how})
        return custom_cfg

    @staticmethod
    def _loop_has_losses(runner: Any, mode: str) -> bool:
        return mode != "train" and bool(getattr(getattr(runner, f"{mode}_loop", None), "loss", False))

    def _by_epoch(self, runner: Any) -> bool:
        return bool(runner.by_epoch if self.by_epoch is None else self.by_epoch)

    def _place(self, runner: Any, batch_idx: int, mode: str) -> str:
        length = self._get_dataloader_size(runner, mode)
        if self._by_epoch(runner):
            done, epoch = self._get_iter(runner, batch_idx), " "
            if mode != "test":
                width = len(str(runner.max_epochs)) + 3 if runner.max_epochs else 0
                epoch = f" [{self._get_epoch(runner, mode)}]".rjust(width)
            return f"Epoch({mode}){epoch}[{done:>{len(str(length))}}/{length}]"
        if mode == "train":
            done, length = self._get_iter(runner, batch_idx), runner.max_iters or "?"
        else:
            done = batch_idx + 1
        return f"Iter({mode}) [{done:>{len(str(length))}}/{length}]"

    def _collect_scalars(
        self, custom_cfg: list[dict[str, Any]], runner: Any, mode: str, reserve_prefix: bool = False
    ) -> dict[str, Any]:
        """Each scalar of ``mode`` by its name, with the stage in front where ``reserve_prefix``."""
        histories: dict[str, HistoryBuffer] = {}
        for full, history in runner.message_hub.log_scalars.items():
            if full.startswith(mode) and len(history):
                histories[full if reserve_prefix else self._remove_prefix(full, f"{mode}/")] = history
        tag: dict[str, Any] = {}
        for name, history in histories.items():
            averages = self._averages.get(name)
            if averages is None:
                averages = self._averages[name] = self.mean_pattern.search(name) is not None
            tag[name] = history.mean(self.window_size) if averages else history.current()
        for item in custom_cfg:
            settings = dict(item)
            source = settings.pop("data_src")
            target = settings.pop("log_name", source)
            if reserve_prefix:
                source, target = f"{mode}/{source}", f"{mode}/{target}"
            if source in histories:
                tag[target] = histories[source].statistics(settings.pop("method_name", "mean"), **settings)
        return tag

    def _collect_non_scalars(self, runner: Any, mode: str) -> dict[str, Any]:
        """The infos of ``mode``: what an evaluation gave that is no number."""
        infos = runner.message_hub.runtime_info
        return {
            (full if self.log_with_hierarchy else self._remove_prefix(full, f"{mode}/")): value
            for full, value in infos.items()
            if full.startswith(mode)
        }

    def _remove_prefix(self, string: str, prefix: str) -> str:
        return string.removeprefix(prefix)

    def _parse_windows_size(
        self, runner: Any, batch_idx: int, custom_cfg: list[dict[str, Any]] | None = None
    ) -> list[dict[str, Any]]:
        """A copy of ``custom_cfg`` whose windows are numbers of iterations."""
        parsed = [dict(item) for item in (self.custom_cfg if custom_cfg is None else custom_cfg)]
        for item in parsed:
            window = item.get("window_size")
            if window == "epoch":
                item["window_size"] = batch_idx + 1
            elif window == "global":
                item["window_size"] = int(runner.iter) + 1
            elif window is not None and not isinstance(window, int):
                raise ConfigTypeError(f"log_processor window_size {window!r} must be a number, 'epoch' or 'global'.")
        return parsed

    def _get_max_memory(self, runner: Any) -> int:
        if defaults.logs_host_memory:
            return peak_memory_mb(runner.strategy.device)
        return get_max_cuda_memory(getattr(runner.model, "output_device", None))

    def _get_iter(self, runner: Any, batch_idx: int) -> int:
        return batch_idx + 1 if self._by_epoch(runner) else int(runner.iter) + 1

    def _get_epoch(self, runner: Any, mode: str) -> int:
        _check_mode(mode, MODES[:2])
        # Validation inside training comes after the epoch was closed; the training line shows the running one.
        return int(runner.epoch + 1 if mode == "train" else runner.epoch)

    def _get_cur_loop(self, runner: Any, mode: str) -> Any:
        return getattr(runner, f"{mode}_loop")

    def _get_dataloader_size(self, runner: Any, mode: str) -> Any:
        """Batches of one epoch of the loop of ``mode``; '?' for a loader without a length."""
        length = pass_length(self._get_cur_loop(runner, mode))
        return "?" if length is None else length

    def _text(self, value: Any) -> str:
        if isinstance(value, (torch.Tensor, np.ndarray)):
            return f"\n{value}\n"  # a table of its own
        return f"{value:.{self.num_digits}f}" if isinstance(value, float) else str(value)


def _check_mode(mode: str, known: tuple[str, ...]) -> None:
    if mode not in known:
        raise RuleError(f"mode must be {', '.join(known[:-1])} or {known[-1]} here, but got {mode!r}.")


def peak_memory_mb(device: torch.device) -> int:
    """Peak memory of this process in MB: of the CUDA device, elsewhere the resident size."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) / 2**20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / 2**20 if sys.platform == "darwin" else peak / 2**10)

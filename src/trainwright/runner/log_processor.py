"""From metric histories to the log line and the scalars of one interval."""

from __future__ import annotations

import datetime
import re
import resource
import sys
from typing import Any

import torch

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean
from trainwright.engine.loops.base import length_or_none
from trainwright.registry import LOG_PROCESSORS
from trainwright.state import HistoryBuffer

MEAN_PATTERN = r".*(loss|time|data_time|grad_norm).*"
STATISTICS = ("mean", "max", "min", "current")


@LOG_PROCESSORS.register_module()
class LogProcessor:
    """Smooths scalars over a window and formats the line (API of mmengine's LogProcessor).

    Names that match ``mean_pattern`` are averaged over the last ``window_size`` iterations, of the running epoch at
    most; the others show their newest value. ``custom_cfg`` is a list of
    ``dict(data_src=..., method_name=..., window_size=..., log_name=...)`` with the methods mean, max, min and current,
    and a window of n iterations, 'epoch' or 'global'.
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
                raise ConfigError(
                    f"log_processor custom_cfg item {item!r} lacks data_src, the name of a logged scalar."
                )
            method = item.get("method_name", "mean")
            if method not in STATISTICS and method not in HistoryBuffer._statistics:
                raise ConfigError(
                    f"log_processor method_name {method!r} is unknown; known: {', '.join(STATISTICS)}."
                    f"{did_you_mean(method, STATISTICS)}"
                )
            window = item.get("window_size")
            if window == "epoch" and self.by_epoch is False:
                raise ConfigError("log_processor window_size='epoch' needs by_epoch=True.")
            if window is not None and not isinstance(window, int) and window not in ("epoch", "global"):
                raise ConfigError(f"log_processor window_size {window!r} must be a number, 'epoch' or 'global'.")
            name = item.get("log_name", item["data_src"])
            if name in names:
                raise ConfigError(f"log_processor custom_cfg writes {name!r} twice: give one of them another log_name.")
            names.add(name)

    def get_log_after_iter(self, runner: Any, batch_idx: int, mode: str) -> tuple[dict[str, Any], str]:
        """Scalars and line after iteration ``batch_idx`` of ``mode`` (train, val or test); flushes the metrics."""
        tag = self._scalars(runner, batch_idx, mode)
        parts = [self._place(runner, batch_idx, mode)]
        shown = dict(tag)
        if mode == "train":
            rates = [name for name in shown if name.endswith(("lr", "base_lr"))]
            parts.append(" ".join([f"{name}: {shown.pop(name):.4e}" for name in rates]))
        eta = runner.message_hub.get_info("eta")
        if eta is not None:
            parts.append(f"eta: {datetime.timedelta(seconds=int(eta))}")
        times = (f"{mode}/time", f"{mode}/data_time") if self.log_with_hierarchy else ("time", "data_time")
        parts += [f"{name}: {shown.pop(name):.{self.num_digits}f}" for name in times if name in shown]
        memory = peak_memory_mb(runner.strategy.device)
        parts.append(f"memory: {memory}")
        # Metrics of an evaluation come with its end; until then the histories hold those of the one before.
        # So does the loss of a loop that computes it; what a hook puts under such a name in each iteration is shown.
        hides_losses = self._loop_has_losses(runner, mode)
        parts += [
            f"{name}: {self._text(value)}"
            for name, value in shown.items()
            if mode == "train" or ("loss" in name and not hides_losses)
        ]
        if mode == "train":
            clock = runner.ctx.clock
            tag["epoch"] = clock.epoch + 1
            tag["iter"] = clock.iter + 1
        tag["memory"] = memory
        return tag, "  ".join(parts)

    def get_log_after_epoch(
        self, runner: Any, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict[str, Any], str]:
        """Scalars and line after the last of ``batch_idx`` iterations of validation or test.

        The metrics come first, then the mean times of an iteration; ``with_non_scalar`` adds the metrics that are no
        numbers to the scalars.
        """
        histories = runner.message_hub.log_scalars
        infos = runner.message_hub.runtime_info
        has_losses = self._loop_has_losses(runner, mode)
        tag: dict[str, Any] = {}
        times: dict[str, Any] = {}
        for full, history in histories.items():
            stage, _, name = full.partition("/")
            if stage != mode or not len(history):
                continue
            if name in ("time", "data_time"):
                times[full if self.log_with_hierarchy else name] = history.mean(max(batch_idx, 1))
                continue
            # What training logs under the same name is another curve.
            is_other = f"train/{name}" in histories or (has_losses and "loss" in name)
            tag[full if self.log_with_hierarchy or is_other else name] = history.current()
        others = {
            (full if self.log_with_hierarchy else full.partition("/")[-1]): value
            for full, value in infos.items()
            if full.startswith(f"{mode}/")
        }
        total = f"[{batch_idx}/{batch_idx}]"
        place = f"[{self._epoch_of(runner, mode)}]{total}" if self._by_epoch(runner) else total
        items = [f"{k}: {self._text(v)}" for k, v in [*tag.items(), *others.items(), *times.items()]]
        line = f"{'Epoch' if self._by_epoch(runner) else 'Iter'}({mode}) {place}    " + "  ".join(items)
        return {**tag, **(others if with_non_scalar else {}), **times}, line

    @staticmethod
    def _loop_has_losses(runner: Any, mode: str) -> bool:
        return mode != "train" and bool(getattr(getattr(runner, f"{mode}_loop", None), "loss", False))

    def _by_epoch(self, runner: Any) -> bool:
        return bool(runner.by_epoch if self.by_epoch is None else self.by_epoch)

    @staticmethod
    def _epoch_of(runner: Any, mode: str) -> int:
        # Validation inside training comes after the epoch was closed; the training line shows the running one.
        return int(runner.epoch + 1 if mode == "train" else runner.epoch)

    def _place(self, runner: Any, batch_idx: int, mode: str) -> str:
        by_epoch = self._by_epoch(runner)
        if mode != "train":
            loader = runner.val_dataloader if mode == "val" else runner.test_dataloader
            length = length_or_none(loader)
            place = f"[{batch_idx + 1}/{'?' if length is None else length}]"
            return f"Epoch({mode}) [{self._epoch_of(runner, mode)}]{place}" if by_epoch else f"Iter({mode}) {place}"
        if by_epoch:
            length = runner.ctx.clock.epoch_length
            width = len(str(length or 0))
            return f"Epoch(train) [{runner.epoch + 1}][{batch_idx + 1:>{width}}/{length or '?'}]"
        width = len(str(runner.max_iters))
        return f"Iter(train) [{runner.iter + 1:>{width}}/{runner.max_iters}]"

    def _scalars(self, runner: Any, batch_idx: int, mode: str) -> dict[str, Any]:
        histories: dict[str, HistoryBuffer] = {}
        n_prefix = 0 if self.log_with_hierarchy else len(mode) + 1
        for full, history in runner.message_hub.log_scalars.items():
            if full.startswith(mode) and full[len(mode) : len(mode) + 1] == "/" and len(history):
                histories[full[n_prefix:]] = history
        window = min(self.window_size, batch_idx + 1)
        tag: dict[str, Any] = {}
        for name, history in histories.items():
            averages = self._averages.get(name)
            if averages is None:
                averages = self._averages[name] = self.mean_pattern.match(name) is not None
            tag[name] = history.mean(window) if averages else history.current()
        for item in self.custom_cfg:
            source = item["data_src"]
            if source in histories:
                settings = {k: v for k, v in item.items() if k not in ("data_src", "log_name", "method_name")}
                if "window_size" in settings:
                    settings["window_size"] = self._window(settings["window_size"], runner, batch_idx)
                method = item.get("method_name", "mean")
                tag[item.get("log_name", source)] = histories[source].statistics(method, **settings)
        return tag

    @staticmethod
    def _window(size: Any, runner: Any, batch_idx: int) -> int:
        return batch_idx + 1 if size == "epoch" else int(runner.iter) + 1 if size == "global" else int(size)

    def _text(self, value: Any) -> str:
        return f"{value:.{self.num_digits}f}" if isinstance(value, float) else str(value)


def peak_memory_mb(device: torch.device) -> int:
    """Peak memory of this process in MB: of the CUDA device, elsewhere the resident size."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) / 2**20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / 2**20 if sys.platform == "darwin" else peak / 2**10)

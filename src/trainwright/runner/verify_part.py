"""A part of a training in a process of its own, for ``verify-resume``: ``python -m trainwright.runner.verify_part``."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import Any

from trainwright.base.errors import Interrupted, TrainwrightError
from trainwright.config import Config, parse_options
from trainwright.engine import Hook

QUIET = {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}]}


class StopAfter(Hook):
    """Ends training after so many iterations in all, as Ctrl-C would."""

    priority = "LOWEST"

    def __init__(self, n_iters: int) -> None:
        self.n_iters = n_iters

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Ask for the stop when it is time; an accumulation window is finished before."""
        if runner.iter + 1 == self.n_iters:
            runner.ctx.stop.request(f"{self.n_iters} iterations", interrupts=True)


def train_part(order: dict[str, Any]) -> str:
    """Train as ``order`` says and return the path of the checkpoint at its end."""
    from trainwright.runner.runner import Runner

    cfg = Config.fromfile(order["config"])
    cfg.merge_from_dict(parse_options(order["options"]), label="--cfg-options")
    cfg.merge_from_dict({"work_dir": order["work_dir"], "visualizer": None, "launcher": "none"})
    cfg["visualizer"] = QUIET
    if order["workers"] is not None:
        cfg.merge_from_dict({"train_dataloader": _workers(order["workers"])})
    cfg["resume"], cfg["load_from"] = bool(order["resume_from"]), order["resume_from"] or cfg.get("load_from")
    if not order["resume_from"]:
        cfg["randomness"] = {**(cfg.get("randomness") or {}), "seed": order["seed"]}
    runner = Runner.from_cfg(cfg)
    runner.register_hook(StopAfter(order["stop_after"]))
    with suppress(Interrupted):  # its checkpoint has a name of the user's choice; the one below has ours
        runner.train()
    return str(runner.save_checkpoint(order["work_dir"], "verified.pth"))


def _workers(number: int) -> dict[str, Any]:
    if number:
        return {"num_workers": number}
    return {"num_workers": 0, "persistent_workers": False, "prefetch_factor": None, "timeout": 0}


def main() -> int:
    """Read the order from standard input and write the path of the checkpoint to the file that it names."""
    order = json.load(sys.stdin)
    try:
        path = train_part(order)
    except TrainwrightError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    with open(order["answer"], "w", encoding="utf-8") as answer:
        answer.write(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())

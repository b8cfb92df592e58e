"""Whether a config resumes exactly: n steps in one go against k, a resume in a fresh process, and the rest."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from trainwright.base.errors import ConfigError, TrainwrightError
from trainwright.base.text import brief
from trainwright.checkpoint import read_file

# In the order in which a difference would spread.
_PARTS = ("loader", "data_pass", "rng", "hooks", "train_loop", "message_hub", "state_dict", "ema_state_dict")
# What is no state of the training: where and when it was done, and how long it took.
_BESIDE = re.compile(
    r"^meta\.(time|cfg|experiment_name|log_dirs|trackers|environment|fingerprint|dataset_meta)\b"
    r"|^message_hub\.runtime_info\.(cfg|experiment_name|\S*ckpt\S*)\b"
    r"|^hooks\.(CheckpointHook\S*\.(\S*ckpt\S*|saved\S*)|ThroughputHook|MaxTimeHook)"
    r"|(^|[._/])(time|eta|memory|elapsed|seconds|stall|tflops|mfu|throughput)(_s|_mb|_gb)?\b"
    r"|(_time|_per_s|_memory)\b|verified\.pth"
)
_FOLDER = re.compile(r"\S*verify-resume-\w+/\w+/")
_CURES = {
    "loader": "the training loader does not stand where it stood: a loader of your own needs state_dict() and "
    "load_state_dict(); an IterableDataset needs them too, or the same items in every pass",
    "rng": "other random numbers were drawn: the dataset, a hook or the model draws from Python's, NumPy's or torch's "
    "streams where a resume cannot repeat it (in __init__, in before_train, in a worker with keyed=False)",
    "hooks": "this hook counts something that its state_dict() does not say, or does not take it back in "
    "load_state_dict()",
    "message_hub": "the logged values differ from there on: see what differs besides",
    "state_dict": "the same batches gave other numbers: an operation that is not deterministic "
    "(randomness=dict(deterministic=True) refuses those), or a state that no checkpoint has: attributes of the model "
    "or the dataset, a hook without state_dict(), gradients of another library",
    "optimizer": "the optimizer keeps something outside its state_dict(), or the gradients differed: see state_dict",
    "param_schedulers": "a scheduler of your own needs all its counters in state_dict()",
}
_UNREPEATABLE = (
    "two runs in one go differ as well, so it is not the resume: the training itself is not repeatable. Set "
    "randomness=dict(seed=0, deterministic=True) and the same OMP_NUM_THREADS, and look for draws that are not keyed"
)


@dataclass(frozen=True)
class Difference:
    """One place in the state, and what differs there."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass
class Verdict:
    """What came of one comparison."""

    n_iters: int
    at: int
    workers: int | None
    n_compared: int = 0
    differences: list[Difference] = field(default_factory=list)
    cause: str = ""

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


@dataclass(frozen=True)
class Plan:
    """What is to be verified."""

    config: str
    n_iters: int = 10
    at: int | None = None
    workers: int | None = None
    options: Sequence[str] = ()
    seed: int = 0
    timeout_s: float = 3600.0


def verify_resume(plan: Plan) -> Verdict:
    """Train twice as the config says, in a temporary folder, once with a stop and a resume; compare the whole state."""
    at = plan.n_iters // 2 if plan.at is None else plan.at
    if not 1 <= at < plan.n_iters:
        raise ConfigError(
            f"the stop must be after 1 to {plan.n_iters - 1} of {plan.n_iters} iterations, got {at}: set --at or "
            "--iters"
        )
    with tempfile.TemporaryDirectory(prefix="verify-resume-") as folder:
        whole = _train(plan, folder, "whole", plan.n_iters)
        part = _train(plan, folder, "parts", at)
        rest = _train(plan, folder, "rest", plan.n_iters, part)
        verdict = Verdict(plan.n_iters, at, plan.workers)
        one = read_file(whole)
        verdict.differences, verdict.n_compared = compare(one, read_file(rest))
        if not verdict.exact:
            again = _train(plan, folder, "again", plan.n_iters)
            repeatable = not compare(one, read_file(again))[0]
            verdict.cause = _CURES.get(_part(verdict.differences[0].path), "") if repeatable else _UNREPEATABLE
    return verdict


def _train(plan: Plan, folder: str, name: str, stop_after: int, resume_from: str | None = None) -> str:
    answer = os.path.join(folder, f"{name}.txt")
    order = {
        "config": plan.config,
        "options": list(plan.options),
        "work_dir": os.path.join(folder, name),
        "workers": plan.workers,
        "seed": plan.seed,
        "stop_after": stop_after,
        "resume_from": resume_from,
        "answer": answer,
    }
    command = [sys.executable, "-m", "trainwright.runner.verify_part"]
    done = subprocess.run(
        command, input=json.dumps(order), capture_output=True, text=True, timeout=plan.timeout_s, check=False
    )
    if done.returncode != 0 or not os.path.exists(answer):
        what = f"resuming after {os.path.basename(resume_from)}" if resume_from else f"training {stop_after} iterations"
        raise TrainwrightError(f"{what} failed with exit code {done.returncode}:\n{done.stderr.strip()[-3000:]}")
    return Path(answer).read_text(encoding="utf-8")


def compare(one: dict[str, Any], other: dict[str, Any]) -> tuple[list[Difference], int]:
    """What differs between two checkpoints of the same moment, the likely origin first, and how many values are equal
    or not. Times, paths and versions are left out."""
    found: list[Difference] = []
    counted = [0]
    for name in sorted({*one, *other}, key=lambda part: (_PARTS.index(part) if part in _PARTS else len(_PARTS), part)):
        found += _differences(one.get(name), other.get(name), name, counted)
    return found, counted[0]


def _differences(one: Any, other: Any, path: str, counted: list[int]) -> Iterator[Difference]:
    if _BESIDE.search(path):
        return
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys((*one, *other)):
            if key not in one or key not in other:
                if not _BESIDE.search(f"{path}.{key}"):
                    yield Difference(f"{path}.{key}", f"only in the {'unbroken' if key in one else 'resumed'} run")
            else:
                yield from _differences(one[key], other[key], f"{path}.{key}", counted)
        return
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        if len(one) > 64 and one == other:
            counted[0] += 1
            return
        for n, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(*pair, f"{path}.{n}", counted)
        return
    counted[0] += 1
    what = _values(one, other)
    if what:
        yield Difference(path, what)


def _values(one: Any, other: Any) -> str:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"{tuple(one.shape)} {one.dtype} in one go, {tuple(other.shape)} {other.dtype} in parts"
        unequal = (one != other) & ~((one != one) & (other != other))
        n_unequal = int(unequal.sum())
        if not n_unequal:
            return ""
        largest = (one.double() - other.double())[unequal].abs().max() if not one.is_complex() else float("nan")
        return f"{n_unequal} of {one.numel()} numbers differ, by {float(largest):.3g} at most"
    if isinstance(one, str) and isinstance(other, str):
        one, other = _FOLDER.sub("", one), _FOLDER.sub("", other)
    if type(one) is type(other) and (one == other or (one != one and other != other)):
        return ""
    return f"{brief(one, 80)} in one go, {brief(other, 80)} in parts"


def _part(path: str) -> str:
    return path.partition(".")[0]

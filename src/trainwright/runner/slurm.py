"""What SLURM says of the job that this process belongs to."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping

TIMEOUT_S = 20.0
_END = re.compile(r"\bEndTime=(\S+)")


def job_id(environ: Mapping[str, str] = os.environ) -> str | None:
    """The job, as ``scontrol`` names it; None outside SLURM."""
    array, task = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environ.get("SLURM_JOB_ID")


def end_time(environ: Mapping[str, str] = os.environ) -> float | None:
    """When the job ends, in seconds of the epoch: SLURM_JOB_END_TIME, else what ``scontrol show job`` says; None where
    nobody says it."""
    job, stated = job_id(environ), environ.get("SLURM_JOB_END_TIME", "")
    if job is None:
        return None
    if stated.isdigit():
        return float(stated)
    code, said = scontrol("show", "job", "-o", job)
    found = _END.search(said) if code == 0 else None
    try:
        return time.mktime(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) if found else None
    except ValueError:  # "Unknown", for a job without a limit
        return None


def scontrol(*words: str) -> tuple[int, str]:
    """Run ``scontrol``; its exit code, -1 where it could not be run, and what it said."""
    try:
        done = subprocess.run(
            ["scontrol", *words], capture_output=True, text=True, timeout=TIMEOUT_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, str(error)
    return done.returncode, (done.stdout + done.stderr).strip()

"""Starting the processes of a command: `--launcher pytorch --nproc 2`, and what goes with it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import typer

from trainwright.base.errors import ConfigError
from trainwright.config import Config

_OPTIONS = "TRAINWRIGHT_LAUNCH"  # of a rank: the options that it was started with, for the command that goes on
_RESUMES = "TRAINWRIGHT_RESUMES"  # of a rank: it is started again, and there is a checkpoint to go on from
_MAY_RESUME = "TRAINWRIGHT_MAY_RESUME"  # of a rank: it is started again, and is to look for a checkpoint itself
_PROGRAM = "TRAINWRIGHT_PROGRAM"  # of a rank that runs in another program: the one that started it
_PR_SET_PDEATHSIG = 1
_STARTED_HERE = ("pytorch", "ray")


@dataclass(frozen=True)
class Launching:
    """The options that say how many processes are started, and where."""

    nproc: str | None = None
    nnodes: str | None = None
    node_rank: int | None = None
    rdzv_endpoint: str | None = None
    max_restarts: int | None = None

    def given(self) -> dict[str, str]:
        """The options of the command line that were given."""
        values = {f"--{field.name.replace('_', '-')}": getattr(self, field.name) for field in fields(self)}
        return {name: str(value) for name, value in values.items() if value is not None}


def starts_ranks(launcher: str, options: Launching) -> bool:
    """Whether this process is to start others. Options that do not fit together are an error."""
    from trainwright.dist import infer_launcher

    given = " ".join(f"{name} {value}" for name, value in options.given().items())
    is_rank = infer_launcher() == "pytorch"
    if is_rank and (given or launcher == "ray"):
        where = f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}"
        raise ConfigError(
            f"this process was started by torchrun already, as {where}, and {given or '--launcher ray'} would start "
            f"more in each: leave either torchrun or {given or 'it'} out."
        )
    if given and launcher not in _STARTED_HERE:
        raise ConfigError(
            f"{given} is for a launcher that starts processes: add --launcher pytorch, or ray."
            if launcher == "none"
            else f"{given} has no meaning with --launcher {launcher}, whose own program starts the processes."
        )
    if is_rank or launcher not in _STARTED_HERE:
        return False
    if options.nproc is None:
        raise ConfigError(
            f"--launcher {launcher} starts the processes: say how many, as in --nproc 2 (--nproc gpu: one a GPU), or "
            "start the command under torchrun, which needs no option."
        )
    return True


def start_ranks(launcher: str, options: Launching, cfg: Config, rank: Callable[[], Any]) -> int:
    """Start what was found out to be started, and return its exit code. `cfg` is checked here, once for all ranks.

    Ranks run this command again, or, where the launcher calls functions, `rank`.
    """
    _check(cfg, launcher)
    if launcher == "ray":
        return _start_on_ray(options, cfg, rank)
    from trainwright.dist.agent import Launch, launch
    from trainwright.runner.preemption_cfg import PreemptionCfg

    preemption = PreemptionCfg.from_cfg((cfg.get("env_cfg") or {}).get("preemption"))
    max_restarts = _restarts(options)
    plan = Launch(
        command=tuple(_command(sys.argv)),
        nproc=n_processes(str(options.nproc)),
        nodes=_nodes(options),
        endpoint=options.rdzv_endpoint or "",
        hosts=None if options.node_rank is None else options.node_rank == 0,
        max_restarts=max_restarts,
        signals=tuple(preemption.signals),
        requeue_code=preemption.exit_code,
        before_start=_before_start(cfg, options, max_restarts),
        say=_say,
    )
    return launch(plan)


def restarted(cfg: Config) -> None:
    """In a rank that was started again: go on from the newest checkpoint, whatever the first start was asked to do."""
    resumes = os.environ.get(_RESUMES) == "1"
    if os.environ.get(_MAY_RESUME) == "1":
        from trainwright.checkpoint import CheckpointManager

        resumes = bool(CheckpointManager(cfg.work_dir).candidates())
    if resumes:
        cfg.resume, cfg.load_from = True, None


def command_name() -> str:
    """The path of this command, for one that goes on."""
    path = os.environ.get(_PROGRAM, sys.argv[0])
    found = shutil.which("trainwright")
    if path.endswith("__main__.py") or (found is not None and os.path.abspath(path) == os.path.abspath(found)):
        return "trainwright"
    return os.path.relpath(path) if os.sep in path else path


def launch_words() -> list[str]:
    """The options that this rank's launch had, for a command that does the same again."""
    if _OPTIONS not in os.environ and os.environ.get("GROUP_WORLD_SIZE") == "1":  # torchrun, on one node
        return ["--nproc", os.environ["LOCAL_WORLD_SIZE"]]
    return shlex.split(os.environ.get(_OPTIONS, ""))


def follow_the_launcher() -> None:
    """In a rank that was started here: if the process that started it is killed, be asked to stop (on Linux)."""
    if _OPTIONS not in os.environ or not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def left_to_launcher(error: Exception) -> bool:
    """In a rank that torchrun or this command started: note what it failed of. Whether the starter shows it, since it
    is this command; then here it is one line."""
    if "TORCHELASTIC_ERROR_FILE" not in os.environ:
        return False
    from trainwright.dist.rank_failure import tell

    if not tell(error) or _OPTIONS not in os.environ:
        return False
    summary = f"{type(error).__name__}: {error}".partition("\n")[0]
    typer.echo(f"rank {os.environ.get('RANK')} fails: {summary}", err=True)
    return True


def n_processes(text: str) -> int:
    """``--nproc``: a number, 'gpu' for one a GPU, 'auto' for that, or one a core where there is no GPU."""
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if text == "gpu" and not n_gpus:
        raise ConfigError("--nproc gpu: this machine has no CUDA device. Give a number to train on the CPU.")
    if text in ("gpu", "auto"):
        return n_gpus or os.cpu_count() or 1
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"--nproc must be a number above 0, 'auto' or 'gpu', but got {text!r}.")
    if 0 < n_gpus < int(text):
        raise ConfigError(
            f"--nproc {text}: this machine has {n_gpus} CUDA device(s), and each process needs one of its own. Start "
            f"at most {n_gpus}, or set CUDA_VISIBLE_DEVICES= to train on the CPU."
        )
    return int(text)


def _nodes(options: Launching) -> tuple[int, int]:
    text = options.nnodes or "1"
    fewest, _, most = text.partition(":")
    if not fewest.isdigit() or not (most or "1").isdigit() or not 0 < int(fewest) <= int(most or fewest):
        raise ConfigError(f"--nnodes must be a number above 0, or fewest:most as in 2:4, but got {text!r}.")
    nodes = int(fewest), int(most or fewest)
    if nodes[1] > 1 and options.rdzv_endpoint is None:
        raise ConfigError(
            f"--nnodes {text}: the nodes have to meet somewhere: add --rdzv-endpoint HOST:PORT, the same on all of "
            "them; HOST is one of the nodes, and PORT is free there."
        )
    if nodes[1] == 1 and options.rdzv_endpoint is not None:
        raise ConfigError("--rdzv-endpoint is where several nodes meet: add --nnodes, or leave it out.")
    if options.node_rank is not None and not 0 <= options.node_rank < nodes[1]:
        raise ConfigError(f"--node-rank must be from 0 to {nodes[1] - 1} with --nnodes {text}: {options.node_rank}.")
    return nodes


def _restarts(options: Launching) -> int:
    n_restarts = options.max_restarts or 0
    if n_restarts < 0:
        raise ConfigError(f"--max-restarts must be at least 0, but got {n_restarts}.")
    return n_restarts


def _check(cfg: Config, launcher: str) -> None:
    """What a Runner would refuse in every rank is refused once, before anything is started."""
    from trainwright.runner import check

    cfg.launcher = launcher
    check.refuse(check.validate(cfg))


def _command(argv: Sequence[str]) -> list[str]:
    """This command without the options of the launch, for a rank."""
    program = [argv[0]] if _is_script(argv[0]) else ["-m", "trainwright"]
    return [sys.executable, *program, *without(argv[1:], Launching.__dataclass_fields__)]


def _is_script(path: str) -> bool:
    """Whether Python can run it as the command; a module's own file is run by the module's name."""
    if not os.path.isfile(path) or path.endswith("__main__.py"):
        return False
    with open(path, "rb") as file:
        return b"python" in file.readline()


def without(arguments: Sequence[str], names: Any) -> list[str]:
    """The arguments but for some options, each of which has a value."""
    options = [f"--{name.replace('_', '-')}" for name in names]
    kept, left = [], list(arguments)
    while left:
        item = left.pop(0)
        if item in options:
            del left[:1]
        elif item.partition("=")[0] not in options:
            kept.append(item)
    return kept


def _before_start(cfg: Config, options: Launching, max_restarts: int) -> Callable[[int], dict[str, str]]:
    from trainwright.checkpoint import CheckpointManager

    own_words = shlex.join(word for pair in options.given().items() for word in pair)
    resumes_itself = bool(cfg.get("resume")) and not cfg.get("load_from") and not isinstance(cfg.get("resume"), str)

    def before_start(attempt: int) -> dict[str, str]:
        variables = {_OPTIONS: own_words}
        if attempt == 1 and (max_restarts == 0 or resumes_itself):
            return variables
        there = CheckpointManager(cfg.work_dir).candidates()
        if attempt == 1:
            _refuse_strangers(cfg, there)
        elif there:
            variables[_RESUMES] = "1"
        return variables

    return before_start


def _refuse_strangers(cfg: Config, there: Sequence[str]) -> None:
    """A restart goes on from the newest checkpoint of the folder, which must be this training's."""
    begins_at = cfg.get("load_from") if not isinstance(cfg.get("resume"), str) else cfg.resume
    if not there or (cfg.get("resume") and begins_at and Path(begins_at).resolve() == Path(there[0]).resolve()):
        return
    raise ConfigError(
        f"{cfg.work_dir} has checkpoints of an earlier training, such as {there[0]}. With --max-restarts a failed run "
        f"goes on from the newest one there, which has to be its own. Add --resume to go on with that training, "
        "or give another --work-dir."
    )


def _say(text: str) -> None:
    typer.secho(text, err=True, fg="red" if text.startswith("rank") else None)


def _start_on_ray(options: Launching, cfg: Config, rank: Callable[[], Any]) -> int:
    for name in ("--nnodes", "--node-rank", "--rdzv-endpoint"):
        if name in options.given():
            raise ConfigError(f"{name} is for --launcher pytorch: with ray the cluster says where processes run.")
    from trainwright.runner.on_ray import train_on_ray

    text = str(options.nproc)
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"--nproc must be a number above 0 with --launcher ray, but got {text!r}.")
    first = {**_before_start(cfg, options, _restarts(options))(1), _PROGRAM: sys.argv[0]}

    def run(resumes: bool) -> None:
        os.environ.update(first)
        os.environ[_MAY_RESUME] = str(int(resumes))
        rank()

    train_on_ray(
        run,
        num_workers=int(text),
        max_restarts=_restarts(options),
        dist_cfg=(cfg.get("env_cfg") or {}).get("dist_cfg"),
        storage_path=os.path.join(os.path.abspath(cfg.work_dir), "ray"),
    )
    return 0

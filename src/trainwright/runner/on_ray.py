"""Training on a cluster that Ray runs: Ray Train's TorchTrainer starts the ranks and joins their process group.

What a cluster has, and where a rank runs, is Ray's business; a rank then trains as under any other launcher. The
folder of the run has to be one that all machines see.
"""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from trainwright.base.errors import ConfigError, Interrupted, Preempted, RankError
from trainwright.base.logs import MMLogger
from trainwright.base.optional import require
from trainwright.checkpoint import CheckpointManager
from trainwright.config import Config
from trainwright.config.imports import import_custom
from trainwright.dist.launch import ATTEMPT
from trainwright.dist.rank_failure import facts_of
from trainwright.runner import check
from trainwright.runner.preemption import ask_to_stop
from trainwright.runner.runner import Runner

POLL_S = 0.5
_WHY = "launcher='ray'"
_OWN_GROUP = "cpu:gloo,cuda:nccl"  # as for other launchers: what is gathered on the host does not go through the GPU


class RankEnded(Exception):
    """What a rank was ended by, in a form that travels."""

    def __init__(self, facts: dict[str, Any], exit_code: int) -> None:
        super().__init__(facts, exit_code)
        self.facts, self.exit_code = facts, exit_code

    def __str__(self) -> str:
        return str(self.facts["text"])


def train_on_ray(
    train: Callable[[bool], Any] | Mapping[str, Any],
    *,
    num_workers: int,
    use_gpu: bool | None = None,
    resources_per_worker: dict[str, float] | None = None,
    max_restarts: int = 0,
    dist_cfg: Mapping[str, Any] | None = None,
    storage_path: str | None = None,
) -> None:
    """Train in `num_workers` ranks that Ray starts, and wait for the end.

    Args:
        train: A config, or a function that is called in each rank, with True where it was started again after a
            failure and is to resume. A config is checked here, before anything is started.
        num_workers: How many ranks.
        use_gpu: Whether each has a GPU; None: where the cluster has GPUs.
        resources_per_worker: What else Ray reserves for each, as in ``{"CPU": 4}``: so many threads it has.
        max_restarts: How often all ranks are started again after one failed.
        dist_cfg: ``backend`` and ``timeout`` of the process group; a config's own are taken where it has some.
        storage_path: Where Ray keeps its notes of the run; by default the folder ``ray`` of a config's work_dir.

    A cluster that this process is connected to, or that runs on this machine, is used; otherwise Ray is started here.
    Ctrl-C and SIGTERM stop the ranks as they stop a training without Ray, and raise Interrupted or Preempted here. A
    failure raises RankError with the traceback of the rank that failed first.
    """
    if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 1:
        raise ConfigError(f"num_workers must be a whole number above 0, but got {num_workers!r}.")
    if max_restarts < 0:
        raise ConfigError(f"max_restarts must be at least 0, but got {max_restarts}.")
    if not callable(train):
        train, dist_cfg, storage_path = _of_config(train, dist_cfg, storage_path)
    ray = require("ray", "ray", _WHY)
    require("ray.train.torch", "ray", _WHY)
    with _connected(ray, num_workers):
        resources = {"use_gpu": use_gpu, "resources_per_worker": resources_per_worker}
        trial = _Trial(ray, train, num_workers, resources, dict(dist_cfg or {}), storage_path)
        for n_restarts in range(max_restarts + 1):
            failure = trial.run(n_restarts + 1)
            if failure is None:
                return
            logger = MMLogger.get_current_instance()
            if failure.facts["is_mistake"] or n_restarts == max_restarts:
                raise RankError(f"{failure.facts['who']} failed:\n{failure}")
            logger.error("%s failed: %s", failure.facts["who"], failure)
            logger.warning("the ranks are started again: %d of %d", n_restarts + 1, max_restarts)


def _of_config(
    cfg: Mapping[str, Any], dist_cfg: Mapping[str, Any] | None, storage_path: str | None
) -> tuple[Callable[[bool], Any], Mapping[str, Any] | None, str | None]:
    config = cfg.copy() if isinstance(cfg, Config) else Config(dict(cfg))
    config.launcher = "ray"
    check.refuse(check.validate(config))
    own = (config.get("env_cfg") or {}).get("dist_cfg")
    work_dir = os.path.abspath(str(config.get("work_dir") or "work_dirs"))

    def train(resumes: bool) -> None:
        import_custom(config)
        config.work_dir = work_dir
        if resumes and CheckpointManager(work_dir).candidates():
            config.resume, config.load_from = True, None
        Runner.from_cfg(config).train()

    return train, dist_cfg if own is None else own, storage_path or os.path.join(work_dir, "ray")


@contextmanager
def _connected(ray: Any, num_workers: int) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody unless it is wished
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(address=address or "auto")
    except ConnectionError as error:
        if address:  # a cluster that was named is not replaced by this machine
            raise ConfigError(
                f"no Ray cluster answers at RAY_ADDRESS={address}: {error}. Start it, or unset RAY_ADDRESS to train on "
                "this machine."
            ) from error
        ray.init(address="local", num_cpus=max(num_workers, os.cpu_count() or 1))
    try:
        yield
    finally:
        ray.shutdown()


class _Trial:
    """Starts the ranks; each start is a run of its own for Ray, which is told not to start anything again."""

    def __init__(
        self,
        ray: Any,
        train: Callable[[bool], Any],
        num_workers: int,
        resources: dict[str, Any],
        dist_cfg: dict[str, Any],
        storage_path: str | None,
    ) -> None:
        self._ray, self._train = ray, train
        if resources["use_gpu"] is None:
            resources["use_gpu"] = ray.cluster_resources().get("GPU", 0) > 0
        self._scaling = {"num_workers": num_workers, **resources}
        backend = dist_cfg.get("backend")
        if backend in (None, "nccl"):
            backend = _OWN_GROUP if resources["use_gpu"] else "gloo"
        timeout = dist_cfg.get("timeout")
        self._group = {"backend": backend, **({} if timeout is None else {"timeout_s": int(timeout)})}
        self._notes = {"name": f"trainwright-{uuid.uuid4().hex[:12]}", "storage_path": storage_path}
        self._wishes = ray.remote(num_cpus=0)(_Wishes).remote()
        self._heard: list[int] = []

    def run(self, attempt: int) -> RankEnded | None:
        """One start of all ranks; what the first that failed was ended by."""
        from ray.exceptions import RayError
        from ray.train import RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer

        order = {"train": self._train, "attempt": attempt, "cwd": os.getcwd(), "wishes": self._wishes}
        trainer = TorchTrainer(
            _rank,
            train_loop_config=order,
            torch_config=TorchConfig(**self._group),
            scaling_config=ScalingConfig(**self._scaling),
            run_config=RunConfig(**{**self._notes, "name": f"{self._notes['name']}-{attempt}"}),
        )
        try:
            self._fit(trainer)
        except (TrainingFailedError, RayError) as error:
            ended = _first(error)
            if ended.facts.get("stopped"):
                kind = Preempted if ended.facts["requeues"] else Interrupted
                raise kind(ended.facts["text"], ended.facts["checkpoint"], ended.exit_code) from None
            return ended
        return None

    def _fit(self, trainer: Any) -> None:
        """``fit()`` in a thread, where Ray sets no handler of its own: a signal is a wish, which the ranks agree on."""
        if threading.current_thread() is not threading.main_thread():
            trainer.fit()
            return
        outcome: list[BaseException | None] = []

        def work() -> None:
            try:
                trainer.fit()
                outcome.append(None)
            except BaseException as error:  # noqa: BLE001 - raised below
                outcome.append(error)

        thread = threading.Thread(target=work, name="trainwright-ray", daemon=True)
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            thread.start()
            thread.join()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if outcome[0] is not None:
            raise outcome[0]

    def _on_signal(self, number: int, frame: Any) -> None:
        self._heard.append(number)
        if len(self._heard) > 2:
            raise KeyboardInterrupt
        by_user = number == signal.SIGINT
        self._wishes.wish.remote("Ctrl-C" if by_user else signal.Signals(number).name, not by_user)


class _Wishes:
    """An actor that ranks ask whether they are to stop."""

    def __init__(self) -> None:
        self.stop: tuple[str, bool] | None = None

    def wish(self, reason: str, requeues: bool) -> None:
        """Ask for a stop; the first reason counts."""
        self.stop = self.stop or (reason, requeues)

    def wished(self) -> tuple[str, bool] | None:
        """(Reason, whether the run is to be started again), if a stop was asked for."""
        return self.stop


def _rank(order: dict[str, Any]) -> None:
    """What Ray calls in each rank, in a thread of its worker; the process group exists already."""
    if os.path.isdir(order["cwd"]):  # Ray works in a folder of its own
        os.chdir(order["cwd"])
    os.environ[ATTEMPT] = str(order["attempt"])
    if torch.cuda.is_available():  # the device is chosen for a thread, and Ray does so in another one
        from ray.train.torch import get_device

        torch.cuda.set_device(get_device())
    over = threading.Event()
    asking = threading.Thread(target=_ask, args=(order["wishes"], over), name="trainwright-wishes", daemon=True)
    asking.start()
    try:
        order["train"](order["attempt"] > 1)
    except Interrupted as stop:
        facts = {"text": str(stop), "stopped": True, "requeues": isinstance(stop, Preempted), "time": 0.0}
        raise RankEnded({**facts, "checkpoint": stop.checkpoint}, stop.exit_code) from None
    except Exception as error:  # noqa: BLE001 - raised in the process that waits for this one
        raise RankEnded(facts_of(error), 1) from None
    finally:
        over.set()
        asking.join()


def _ask(wishes: Any, over: threading.Event) -> None:
    import ray

    while not over.wait(POLL_S):
        stop = ray.get(wishes.wished.remote())
        if stop is not None and ask_to_stop(*stop):
            return


def _first(error: Any) -> RankEnded:
    """The rank that failed first of those that Ray names; others may have failed because of it."""
    failures: dict[int, Any] = getattr(error, "worker_failures", {})
    told = {rank: cause for rank, cause in failures.items() if isinstance(cause, RankEnded)}
    if not told:
        rank, cause = next(iter(failures.items()), (None, error))
        who = "Ray's own process of this training" if rank is None else f"rank {rank}"
        return RankEnded({"text": f"{type(cause).__name__}: {cause}", "who": who, "is_mistake": False}, 1)
    rank = min(told, key=lambda rank: (bool(told[rank].facts.get("is_consequence")), told[rank].facts["time"]))
    ended = told[rank]
    ended.facts["who"] = f"rank {rank}"
    return ended

"""Training in ranks that Ray starts: what is refused, and real runs on a cluster of this machine (marker `ray`)."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainwright import Runner, dist
from trainwright.base.errors import ConfigError, MissingExtraError, Preempted, RankError
from trainwright.config import Config
from trainwright.engine import Hook
from trainwright.runner.on_ray import RankEnded, _connected, train_on_ray
from trainwright.testing.rank_runs import EVERY_2, exact_state
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import differences, toy_config


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_workers": 0}, "num_workers must be a whole number above 0, but got 0"),
        ({"num_workers": True}, "num_workers must be a whole number above 0, but got True"),
        ({"num_workers": 2, "max_restarts": -1}, "max_restarts must be at least 0, but got -1"),
    ],
)
def test_wrong_arguments_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        train_on_ray(print, **settings)


def test_a_config_is_checked_before_anything_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="max_epoch"):
        train_on_ray(toy_config(tmp_path, train_cfg={"by_epoch": True, "max_epoch": 2}), num_workers=2)


def test_the_config_of_the_caller_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    cfg = Config(toy_config(tmp_path, launcher="none"))
    with pytest.raises(MissingExtraError):
        train_on_ray(cfg, num_workers=2)
    assert cfg.launcher == "none"


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"launcher='ray' needs .* pip install 'trainwright\[ray\]'"):
        train_on_ray(print, num_workers=2)


def test_a_rank_that_ray_did_not_start_is_told_so() -> None:
    with pytest.raises(ConfigError, match="launcher='ray' is for a process that Ray started"):
        dist.init_dist("ray")


class NoCluster:
    """Ray, where no cluster runs."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str, **settings: Any) -> None:
        if address != "local":
            raise ConnectionError("nobody is there")
        self.started.append(address)

    def shutdown(self) -> None:
        self.started.append("ended")


def test_a_cluster_that_is_named_and_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    ray = NoCluster()
    text = "no Ray cluster answers at RAY_ADDRESS=head:6379: nobody is there"
    with pytest.raises(ConfigError, match=text), _connected(ray, 2):
        pass
    assert ray.started == []
    monkeypatch.delenv("RAY_ADDRESS")
    with _connected(ray, 2):
        assert ray.started == ["local"]
    assert ray.started == ["local", "ended"]


def test_what_ended_a_rank_travels() -> None:
    import pickle

    ended = pickle.loads(pickle.dumps(RankEnded({"text": "boom", "rank": 1}, 3)))
    assert (str(ended), ended.facts["rank"], ended.exit_code) == ("boom", 1, 3)


class SelfKill(Hook):
    """The process of rank 1 dies in its first start."""

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == 3 and runner.rank == 1 and os.environ.get("TRAINWRIGHT_ATTEMPT") == "1":
            os.kill(os.getpid(), signal.SIGKILL)


def train(work_dir: str, launcher: str, hooks: tuple[type[Hook], ...], epochs: int, resumes: bool) -> None:
    train_cfg = {"by_epoch": True, "max_epochs": epochs}
    cfg = toy_config(work_dir, default_hooks=EVERY_2, train_cfg=train_cfg, launcher=launcher, resume=resumes)
    cfg["strategy"] = {"type": "DDPStrategy"}
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook())
    runner.train()


def fail_on_one(work_dir: str, resumes: bool) -> None:
    with open(Path(work_dir) / f"{os.environ['TRAINWRIGHT_ATTEMPT']}-{dist.get_rank()}", "w"):
        pass
    dist.barrier()
    if dist.get_rank() == 1:
        raise ConfigError("boom on one")
    dist.barrier()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks that nothing happens to. Forked, so before there is a cluster."""
    folder = tmp_path_factory.mktemp("whole")
    run_ranks(2, train, str(folder), "none", (), 2, False)
    return folder


@pytest.fixture(scope="module")
def cluster(whole: Path) -> Iterator[Any]:
    """Ray on this machine, with two cores; it asks nobody and tells nobody."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_AUTH_MODE", "disabled")  # or else it keeps a token in the user's folder
    ray = pytest.importorskip("ray")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks cannot import a file of tests
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()
    patch.undo()


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_killed_rank_is_started_again_and_the_end_is_the_same(cluster: Any, whole: Path, tmp_path: Path) -> None:
    once = functools.partial(train, str(tmp_path / "run"), "ray", (SelfKill,), 2)
    train_on_ray(once, num_workers=2, max_restarts=1, storage_path=str(tmp_path / "ray"))
    names = sorted(path.name for path in whole.glob("*.pth"))
    assert not differences(exact_state(whole / names[-1]), exact_state(tmp_path / "run" / names[-1]))
    logs = [path for path in (tmp_path / "run").iterdir() if path.is_dir() and path.name.startswith("2")]
    assert len(logs) == 2  # two starts


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_an_error_names_its_rank_and_a_mistake_is_not_tried_again(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(RankError, match=r"rank 1 failed:\nerror: boom on one"):
        train_on_ray(
            functools.partial(fail_on_one, str(tmp_path)),
            num_workers=2,
            max_restarts=2,
            storage_path=str(tmp_path / "ray"),
        )
    assert sorted(path.name for path in tmp_path.glob("?-?")) == ["1-0", "1-1"]


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_config_is_trained_and_a_signal_saves_and_stops_it(cluster: Any, tmp_path: Path) -> None:
    cfg = toy_config(tmp_path, default_hooks=EVERY_2, train_cfg={"by_epoch": True, "max_epochs": 10_000})
    cfg["custom_imports"] = {"imports": ["trainwright.testing.toys"]}

    def strike() -> None:
        while not list(tmp_path.glob("iter_*.pth")):
            if over.wait(0.05):
                return
        os.kill(os.getpid(), signal.SIGTERM)

    over = threading.Event()
    thread = threading.Thread(target=strike)
    thread.start()
    try:
        with pytest.raises(Preempted, match=r"was stopped \(SIGTERM\)") as stopped:
            train_on_ray(cfg, num_workers=2)
    finally:
        over.set()
        thread.join()
    assert stopped.value.exit_code == 75
    assert stopped.value.checkpoint is not None
    assert Path(stopped.value.checkpoint).exists()
    assert (tmp_path / ".requeue").exists()

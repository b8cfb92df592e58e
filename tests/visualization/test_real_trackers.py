"""Each tracker against its real package, offline: what it stored is read back and compared with the JSON lines."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import tracker_readers as readers
from matplotlib.image import imsave

from trainwright.cli.app import run as run_cli
from trainwright.visualization import read_run

pytestmark = [pytest.mark.tracker, pytest.mark.filterwarnings("ignore")]
TRAINING = Path(__file__).with_name("tracked_training.py")

# How the points after the resume step go: all of them, those that are written again, or none.
CUTS = {
    "tensorboard": "all",
    "mlflow": "none",
    "wandb": "none",  # offline
    "dvclive": "all",
    "aim": "written again",
    "swanlab": "none",  # offline
    "clearml": "none",
    "neptune": "none",
}
NAMES = {
    "tensorboard": "TensorboardVisBackend",
    "mlflow": "MLflowVisBackend",
    "wandb": "WandbVisBackend",
    "dvclive": "DVCLiveVisBackend",
    "aim": "AimVisBackend",
    "swanlab": "SwanLabVisBackend",
    "clearml": "ClearMLVisBackend",
    "neptune": "NeptuneVisBackend",
}


@pytest.fixture(params=list(NAMES))
def tracker(request):
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Trackers write to the home folder, the working folder and a cache: all of them are below ``tmp_path``."""
    for name, value in {
        "HOME": str(tmp_path),
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "CLEARML_OFFLINE_MODE": "1",
        "CLEARML_CACHE_DIR": str(tmp_path / "clearml"),
        "SWANLAB_MODE": "offline",
        "DVC_NO_ANALYTICS": "1",
        "OMP_NUM_THREADS": "1",
        "GIT_CEILING_DIRECTORIES": str(tmp_path.parent),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_of(tracker, home):
    more = {
        "aim": {"init_kwargs": {"repo": str(home)}},
        "clearml": {"init_kwargs": {"project_name": "p", "task_name": "t", "auto_resource_monitoring": False}},
        "swanlab": {"init_kwargs": {"mode": "offline"}},
    }
    return {"type": NAMES[tracker], **more.get(tracker, {})}


def train(home, **settings):
    """Train in another process; the trackers that were dropped, and what was logged."""
    text = json.dumps({"work_dir": str(home / "work"), **settings})
    done = subprocess.run([sys.executable, str(TRAINING), text], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("dropped: ")]
    return line.removeprefix("dropped: "), done.stdout + done.stderr


def place_of(tracker, home, top):
    return {"clearml": home / "clearml", "aim": home, "neptune": home}.get(tracker, top)


def stored(tracker, home, top):
    return getattr(readers, tracker)(place_of(tracker, home, top))


def rounded(tracker, points):
    """As the tracker keeps numbers: TensorBoard has 32 bits; Aim and SwanLab keep one value of a name and step, and
    some names are in lines of training and in those of validation, whose steps are epochs."""
    to = np.float32 if tracker == "tensorboard" else float
    left_out = ("time", "data_time", "iter") if tracker in ("aim", "swanlab") else ()
    return {
        name: sorted((int(step), float(to(value))) for step, value in found)
        for name, found in points.items()
        if name not in left_out
    }


def parts(work):
    return sorted(work.glob("*/vis_data"))


@pytest.mark.slow
def test_values_are_those_of_the_lines_and_a_resumed_run_goes_on_without_the_points_it_trains_again(tracker, home):
    backend, work = settings_of(tracker, home), home / "work"
    assert train(home, backend=backend)[0] == "[]"
    first = read_run(work).points()
    assert {len(first["loss"]), len(first["accuracy/top1"])} == {6, 3}
    assert rounded(tracker, stored(tracker, home, parts(work)[0])) == rounded(tracker, first)

    dropped, log = train(home, backend=backend, epochs=4, interval=4, resume=str(work / "epoch_2.pth"))
    assert dropped == "[]", log
    merged = read_run(work)
    assert merged.resumed_at == [8]
    assert [step for step, _ in merged.points()["loss"]] == [2, 4, 6, 8, 12, 16]
    found = rounded(tracker, stored(tracker, home, parts(work)[0]))
    if CUTS[tracker] == "all":
        assert found == rounded(tracker, merged.points())
    elif CUTS[tracker] == "written again":
        wanted = rounded(tracker, merged.points())
        left = {name: sorted(set(found[name]) - set(wanted[name])) for name in wanted}
        assert {step for points in left.values() for step, _ in points} == {10}
        assert all(set(wanted[name]) <= set(found[name]) for name in wanted)
        assert len(found["loss"]) == 7
    else:
        again = written(parts(work)[1] / "scalars.json")
        both = {name: [*points, *again.get(name, [])] for name, points in first.items()}
        assert found == rounded(tracker, both)
    if tracker == "mlflow":
        assert readers.mlflow_run(parts(work)[0])[1].data.tags["cut_after"] == "8"
    if tracker in ("wandb", "swanlab"):
        ids = {file.stem for file in parts(work)[0].rglob(f"*.{tracker}")}
        assert len(ids) == 1  # two files of one run


def written(file):
    """All points of one file."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return readers.collect(
        (name, line["step"], value) for line in lines for name, value in line.items() if name != "step"
    )


@pytest.mark.slow
def test_a_fresh_run_in_the_same_folder_is_another_run(home):
    pytest.importorskip("dvclive")
    for _ in range(2):
        train(home, backend=settings_of("dvclive", home), epochs=1)
    one, other = parts(home / "work")
    assert rounded("dvclive", readers.dvclive(one)) == rounded("dvclive", written(one / "scalars.json"))
    assert rounded("dvclive", readers.dvclive(other)) == rounded("dvclive", written(other / "scalars.json"))


@pytest.mark.slow
def test_a_tracker_whose_service_is_killed_is_reported_once_and_changes_no_weight(home):
    pytest.importorskip("wandb")
    dropped, log = train(home, backend=settings_of("wandb", home), interval=1, kill="wandb-core")
    assert dropped == "['WandbVisBackend']", log
    assert log.count("WandbVisBackend is not used any more") == 1
    killed = torch.load(home / "work" / "epoch_3.pth", weights_only=True)["state_dict"]
    (home / "work").rename(home / "killed")
    assert train(home, interval=1)[0] == "[]"
    plain = torch.load(home / "work" / "epoch_3.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(killed[name], plain[name]) for name in plain)


@pytest.fixture
def sync(monkeypatch, capsys):
    def sync(*words):
        monkeypatch.setattr(sys, "argv", ["trainwright", "sync", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run_cli()
        out, err = capsys.readouterr()
        assert not ended.value.code, out + err
        return out

    return sync


def test_sync_replays_a_run_and_again_only_what_is_new(tracker, home, sync):
    if tracker == "clearml":
        pytest.skip("its offline mode is read when it is imported, which was before; a process of its own is above")
    work = home / "work"
    train(home)
    (log,) = parts(work)
    (log / "vis_image" / "seen").mkdir(parents=True)
    imsave(log / "vis_image" / "seen" / "cat_4.png", np.full((4, 5, 3), 51, np.uint8))
    options = [f"--option={key}" for key in (f"init_kwargs.repo={home}",) if tracker == "aim"]
    top = work / "synced" / tracker
    said = sync(work, "--to", tracker, *options)
    assert "a new run" in said
    assert "9 lines of scalars, 1 pictures, the config" in said
    assert rounded(tracker, stored(tracker, home, top)) == rounded(tracker, read_run(work).points())
    said = sync(work, "--to", tracker, *options)
    assert "the run of the last time" in said
    assert "0 lines of scalars, 0 pictures" in said
    assert rounded(tracker, stored(tracker, home, top)) == rounded(tracker, read_run(work).points())
    with (log / "scalars.json").open("a") as file:
        file.write('{"loss": 0.5, "lr": 0.1, "epoch": 4, "iter": 14, "step": 14}\n{"loss": 0.')
    said = sync(work, "--to", tracker, *options)
    assert "1 lines of scalars" in said
    assert "is cut off" in said
    assert rounded(tracker, stored(tracker, home, top)) == rounded(tracker, read_run(work).points())


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow", "dvclive", "aim"])
def test_a_sync_after_a_resume_replaces_what_counts_no_more(tracker, home, sync):
    pytest.importorskip(tracker)
    work = home / "work"
    train(home)
    options = [f"--option=init_kwargs.repo={home}"] if tracker == "aim" else []
    sync(work, "--to", tracker, *options)
    train(home, epochs=4, interval=4, resume=str(work / "epoch_2.pth"))
    said = sync(work, "--to", tracker, *options)
    assert "a new run in place of the last one" in said
    found = stored(tracker, home, work / "synced" / tracker)
    assert rounded(tracker, found) == rounded(tracker, read_run(work).points())


def test_nan_and_infinity_come_back_where_the_tracker_has_them(tracker, home, sync):
    if tracker == "clearml":
        pytest.skip("as above; finite() is tested without the package")
    log = home / "work" / "20250101_000000" / "vis_data"
    log.mkdir(parents=True)
    lines = [{"loss": value, "lr": 0.1, "step": n, "iter": n} for n, value in enumerate([0.5, math.nan, math.inf], 1)]
    (log / "scalars.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = [f"--option=init_kwargs.repo={home}"] if tracker == "aim" else []
    sync(home / "work", "--to", tracker, *options)
    found = dict(stored(tracker, home, home / "work" / "synced" / tracker)["loss"])
    assert found[1] == 0.5
    if tracker == "neptune":
        assert found == {1: 0.5}
        return
    assert math.isnan(found[2])
    assert found[3] == (sys.float_info.max if tracker == "mlflow" else math.inf)

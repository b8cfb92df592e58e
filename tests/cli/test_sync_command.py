import json

import pytest

LINE = {"loss": 0.5, "lr": 0.1, "epoch": 1, "iter": 10, "step": 10}


@pytest.fixture
def run(project):
    pytest.importorskip("tensorboard")
    folder = project / "work" / "20250101_000000" / "vis_data"
    folder.mkdir(parents=True)
    (folder / "scalars.json").write_text(json.dumps(LINE) + "\n")
    (folder / "config.py").write_text("custom_imports = dict(imports=['no_such_module'])\nlr = 0.1\n")
    return folder


def test_a_run_is_sent_once(run, command):
    code, out, _ = command("sync", "work", "--to", "tensorboard")
    assert (code, out) == (
        0,
        "TensorboardVisBackend: a new run (folder synced/tensorboard): 1 lines of scalars, 0 pictures, the config\n",
    )
    code, out, _ = command("sync", "work", "--to", "TensorboardVisBackend", "--json")
    assert json.loads(out) == {
        "tracker": "TensorboardVisBackend",
        "how": "the run of the last time",
        "state": {"folder": "synced/tensorboard"},
        "n_lines": 0,
        "n_pictures": 0,
        "has_config": False,
        "notes": [],
    }


def test_what_counts_no_more_is_replaced(run, command):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    command("sync", "work", "--to", "tensorboard")
    (run / "scalars.json").write_text(json.dumps({**LINE, "loss": 0.25}) + "\n")
    _, out, _ = command("sync", "work", "--to", "tensorboard")
    assert "a new run in place of the last one" in out
    events = EventAccumulator("work/synced/tensorboard")
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(10, 0.25)]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["work", "--to", "tensorbord"], "no tracker 'tensorbord'; there are aim, .*Did you mean 'tensorboard'"),
        (["worc", "--to", "tensorboard"], "'worc' is no folder of a run"),
        (["work", "--to", "tensorboard", "--option", "folder=1"], "unknown argument 'folder'"),
        (["work", "--to", "tensorboard", "--option", "folder"], "written KEY=VALUE, got 'folder'"),
        (["work", "--to", "tensorboard", "--option", "a=1", "--option", "a.b=1"], "'a.b' goes into 'a'"),
    ],
)
def test_mistakes(run, command, words, text):
    code, _, err = command("sync", *words)
    assert code == 1
    assert __import__("re").search(text, err), err


def test_a_tracker_that_fails_is_told_and_the_next_sync_goes_on(run, command, monkeypatch):
    from trainwright.visualization import TensorboardVisBackend

    write = TensorboardVisBackend.log_numbers

    def fail(self, numbers, step):
        if step == 20:
            raise ConnectionError("no route to host")
        write(self, numbers, step)

    with (run / "scalars.json").open("a") as file:
        file.write(json.dumps({**LINE, "iter": 20, "step": 20}) + "\n")
    monkeypatch.setattr(TensorboardVisBackend, "log_numbers", fail)
    code, _, err = command("sync", "work", "--to", "tensorboard")
    assert code == 1
    assert "ConnectionError: no route to host. 1 lines were sent; the next sync goes on after them" in err
    monkeypatch.undo()
    monkeypatch.chdir(run.parents[2])
    from trainwright.visualization.sync import sync_run

    assert sync_run("work", "tensorboard").n_lines == 1

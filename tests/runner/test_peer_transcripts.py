"""What hooks see of a run, event by event, and what is logged and written: the same as in MMEngine, but for the
differences that are listed."""

import pytest
import transcript_differences
import transcript_engines
from transcript_differences import Comparison
from transcript_parts import register
from transcript_scenarios import RESUMES, SCENARIOS, epochs
from transcripts import run

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]  # MMEngine's own warnings
pytest.importorskip("mmengine")


@pytest.fixture(scope="module")
def engines():
    found = {"ours": transcript_engines.registered_ours(), "theirs": transcript_engines.theirs()}
    register(found["theirs"])
    return found


def both(engines, tmp_path, changes):
    return Comparison(*(run(engine, tmp_path / name / "run", **changes) for name, engine in engines.items()))


@pytest.fixture(scope="module")
def used():
    """Which listed difference was met in which run."""
    return {}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run(engines, used, tmp_path, name):
    found = both(engines, tmp_path, SCENARIOS[name])
    used[name] = found.used
    assert found.unlisted[:5] == []


@pytest.mark.parametrize("name", RESUMES)
def test_taken_up_again(engines, tmp_path, name):
    """Each engine from a checkpoint of its own."""
    first, checkpoint, second = RESUMES[name]
    runs = []
    for label, engine in engines.items():
        run(engine, tmp_path / label / "first", **first)
        path = tmp_path / label / "first" / checkpoint
        runs.append(run(engine, tmp_path / label / "run", **{**first, **second, "load_from": str(path)}))
    found = Comparison(*runs)
    assert found.unlisted[:5] == []


def test_a_validation_that_was_due_is_run_first(engines, tmp_path):
    """Listed among the differences of a resume."""
    settings = epochs(4, val_interval=2)
    events = {}
    for label, engine in engines.items():
        run(engine, tmp_path / label / "first", **settings)
        path = str(tmp_path / label / "first" / "epoch_2.pth")
        records = run(engine, tmp_path / label / "run", **settings, load_from=path, resume=True).records
        events[label] = [record["event"] for record in records if record.get("at") == "HIGHEST"]
    start = ["before_run", "after_load_checkpoint", "before_train"]
    validation = ["before_val", "before_val_epoch", *["before_val_iter", "after_val_iter"] * 2]
    validation += ["after_val_epoch", "after_val"]
    assert events["theirs"][:4] == [*start, "before_train_epoch"]
    assert events["ours"] == [*start, *validation, *events["theirs"][3:]]


def test_each_listed_difference_is_met(used):
    """A row that no run needs any more is to be taken out."""
    if used.keys() != SCENARIOS.keys():
        pytest.skip("only some of the runs were made in this process")
    assert set().union(*used.values()) == set(transcript_differences.ROWS)

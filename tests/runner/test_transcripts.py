"""What hooks see of a run, event by event, as it was written down: a change of order, arguments, counters or names is
seen without another engine at hand.

``python tests/runner/test_transcripts.py`` writes the files anew, after a change that was meant.
"""

import copy
from pathlib import Path

import pytest
import transcript_differences
import transcript_engines
from transcript_differences import Comparison
from transcript_scenarios import RESUMES, SCENARIOS
from transcripts import rendered, run

FOLDER = Path(__file__).parent / "transcript_files"
DOCS = Path(__file__).parents[2] / "docs" / "differences.md"
SAVING = "before_save_checkpoint"
KEPT = {
    "epochs": "loop: epochs, val_begin and val_interval",
    "iterations": "loop: iterations, val_interval",
    "epochs_dynamic_intervals": "loop: epochs, dynamic_intervals",
    "iterations_dynamic_intervals": "loop: iterations, dynamic_intervals",
    "early_stopping": "stop: early stopping",
    "train_then_test": "loop: train, then test",
    "several_optimizers": "step: several optimizers",
    "generic_methods": "loop: generic methods and events of one's own",
    "best_checkpoints": "checkpoint: save_best auto",
}
KEPT_RESUMES = {"resume_epochs": "epochs", "resume_iterations": "iterations"}


def made(engine, name, folder):
    """The transcript of that name."""
    if name in KEPT:
        return run(engine, folder / "run", **SCENARIOS[KEPT[name]])
    first, checkpoint, second = RESUMES[KEPT_RESUMES[name]]
    run(engine, folder / "first", **first)
    return run(engine, folder / "run", **{**first, **second, "load_from": str(folder / "first" / checkpoint)})


@pytest.fixture(scope="module")
def engine():
    return transcript_engines.registered_ours()


@pytest.mark.parametrize("name", [*KEPT, *KEPT_RESUMES])
def test_a_run_as_it_was_written_down(engine, tmp_path, name):
    kept = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert rendered(made(engine, name, tmp_path).records).splitlines() == kept.splitlines()


def test_no_file_is_left_over():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted([*KEPT, *KEPT_RESUMES])


@pytest.fixture(scope="module")
def two_runs(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [run(engine, folder / name / "run") for name in ("one", "other")]


def without(records, event):
    return [record for record in records if record.get("event") != event]


def changed(records, key, value):
    records = copy.deepcopy(records)
    record = next(record for record in records if record.get("event") == "after_val_epoch")
    record[key] = value
    return records


CHANGES = {
    "an event is left out": lambda records: without(records, "before_val"),
    "an event more": lambda records: [*records, records[0]],
    "the last ones are left out": lambda records: records[:-1],
    "another order": lambda records: [records[1], records[0], *records[2:]],
    "a counter": lambda records: changed(records, "iter", 3),
    "an argument": lambda records: changed(records, "arguments", {}),
    "a rate": lambda records: changed(records, "rates", {"lr": [0.5]}),
    "a scalar": lambda records: changed(records, "scalars", {}),
    "a file": lambda records: changed(records, "files", {"checkpoints": []}),
    "a line": lambda records: [record for record in records if "log" not in record],
}


def test_equal_runs_compare_equal(two_runs):
    found = Comparison(*two_runs)
    assert (found.unlisted, found.used) == ([], set())


def test_the_scalars_are_also_in_a_file_of_the_name_that_downstream_tools_read(two_runs):
    scalars = two_runs[0].scalars
    assert set(scalars) == {"TIME/vis_data/TIME.json", "TIME/vis_data/scalars.json"}
    assert scalars["TIME/vis_data/TIME.json"] == scalars["TIME/vis_data/scalars.json"]


def test_a_loop_that_counts_for_itself_is_followed_and_taken_up(engine, tmp_path):
    """The clock, the counters of the runner and those in checkpoints are the loop's."""
    first, checkpoint, second = RESUMES["a loop on BaseLoop"]
    whole = run(engine, tmp_path / "first", **first)
    assert whole.end == {"iter": 6, "epoch": 3}
    saved = [record["arguments"]["checkpoint"] for record in whole.records if record.get("event") == SAVING]
    assert sorted({(tree["epoch"], tree["iter"]) for tree in saved}) == [(1, 2), (2, 4), (3, 6)]
    again = run(engine, tmp_path / "run", **{**first, **second, "load_from": str(tmp_path / "first" / checkpoint)})
    assert again.end == whole.end
    assert all(value.equal(again.weights[name]) for name, value in whole.weights.items())
    steps = [record for record in again.records if record.get("event") == "before_train_iter"]
    assert sorted({(record["epoch"], record["iter"]) for record in steps}) == [(1, 2), (1, 3), (2, 4), (2, 5)]


@pytest.mark.parametrize("name", ["iterations", "iterations, several passes"])
def test_resumed_data_goes_on_where_it_was(engine, tmp_path, name):
    """With MMEngine's random numbers the loader has no position: it is read again, also from an endless sampler."""
    first, checkpoint, second = RESUMES[name]
    whole = run(engine, tmp_path / "first", **first)
    again = run(engine, tmp_path / "run", **{**first, **second, "load_from": str(tmp_path / "first" / checkpoint)})
    assert all(value.equal(again.weights[name]) for name, value in whole.weights.items())


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_comparison_can_fail(two_runs, change, swapped):
    one, other = two_runs
    other = copy.copy(other)
    other.records = CHANGES[change](one.records)
    assert Comparison(*((other, one) if swapped else (one, other))).unlisted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hooks", []),
        ("scalars", {}),
        ("returned", [{"toy/acc": 1.0}]),
        ("end", {"iter": 3, "epoch": 2}),
        ("weights", {}),
    ],
)
def test_the_comparison_of_results_can_fail(two_runs, name, value):
    one, other = two_runs
    other = copy.copy(other)
    setattr(other, name, value)
    assert Comparison(one, other).unlisted


def test_a_line_of_a_scalar_file_can_fail(two_runs):
    one, other = two_runs
    for file, lines in one.scalars.items():
        for n, line in enumerate(lines):
            for key in line:
                changes = copy.deepcopy(one.scalars)
                changes[file][n][key] = "other"
                other = copy.copy(other)
                other.scalars = changes
                assert Comparison(one, other).unlisted, (file, n, key)


def test_each_difference_is_listed_in_the_docs():
    text = DOCS.read_text(encoding="utf-8")
    assert [row for row in transcript_differences.ROWS.values() if row not in text] == []


if __name__ == "__main__":
    import tempfile

    FOLDER.mkdir(exist_ok=True)
    for kept in [*KEPT, *KEPT_RESUMES]:
        with tempfile.TemporaryDirectory() as scratch:
            text = rendered(made(transcript_engines.registered_ours(), kept, Path(scratch)).records)
        (FOLDER / f"{kept}.txt").write_text(text, encoding="utf-8")

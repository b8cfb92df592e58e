import json
import math

import pytest

from trainwright.base.errors import WorkDirError
from trainwright.visualization.scalars import Cut, find_parts, read_run, read_scalars


def train_line(at, **more):
    return {"loss": 1.0 / at, "lr": 0.1, "epoch": (at - 1) // 40 + 1, "iter": at, "step": at, **more}


def val_line(epoch, at, acc):
    return {"acc": acc, "step": epoch, "iter": at}


def write(log, lines, resumed=None, tail=""):
    folder = log / "vis_data"
    folder.mkdir(parents=True)
    (folder / "scalars.json").write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)
    if resumed is not None:
        (folder / "resumed.json").write_text(json.dumps(resumed))
    return folder / "scalars.json"


def test_lines_keep_their_values_and_know_their_iteration(tmp_path):
    file = write(tmp_path / "a", [train_line(10), val_line(1, 40, 0.5), {"note": "text", "x": 3, "step": 7}])
    lines = read_scalars(file).lines
    assert [(line.step, line.iteration, line.is_train) for line in lines] == [
        (10, 10, True),
        (1, 40, False),
        (7, 7, False),
    ]
    assert lines[2].numbers() == {"x": 3}
    assert read_scalars(file).points()["acc"] == [(1, 0.5)]


def test_the_parts_of_a_resumed_run_end_where_the_next_one_was_taken_up(tmp_path):
    write(tmp_path / "20250101_000000", [*map(train_line, (10, 20, 30)), val_line(1, 40, 0.1), train_line(50)])
    # nothing is logged at 30, which the first part has after the resumed iteration
    write(tmp_path / "20250102_000000", [train_line(50, loss=9.0)], {"iter": 25, "parts": ["20250101_000000"]})
    found = read_run(tmp_path)
    assert found.points()["loss"] == [(10, 0.1), (20, 0.05), (50, 9.0)]
    assert "acc" not in found.points()
    assert found.resumed_at == [25]
    assert [log.name for log in find_parts(tmp_path)] == ["20250101_000000", "20250102_000000"]
    assert read_run(tmp_path / "20250101_000000").resumed_at == []


def test_a_fresh_run_in_the_same_folder_stands_alone(tmp_path):
    write(tmp_path / "20250101_000000", [train_line(10)])
    write(tmp_path / "20250102_000000", [train_line(20)])
    assert read_run(tmp_path).points()["iter"] == [(20, 20)]


def test_a_training_that_goes_back_in_time_writes_over_what_was_there(tmp_path):
    lines = [*map(train_line, (10, 20, 30)), val_line(1, 30, 0.1), train_line(40), train_line(30, loss=5.0)]
    found = read_scalars(write(tmp_path / "a", lines))
    assert found.points()["loss"] == [(10, 0.1), (20, 0.05), (30, 5.0)]
    assert "acc" not in found.points()


def test_a_validation_that_is_done_again_replaces_its_own_kind_only(tmp_path):
    lines = [train_line(40), val_line(1, 40, 0.1), {"other": 1, "step": 40}, val_line(2, 80, 0.2), val_line(1, 40, 0.3)]
    found = read_scalars(write(tmp_path / "a", lines)).points()
    assert found["acc"] == [(1, 0.3)]
    assert found["other"] == [(40, 1)]


def test_nan_and_infinity_are_values_and_a_torn_line_is_noted(tmp_path):
    lines = [train_line(10, loss=math.nan), train_line(20, loss=math.inf)]
    file = write(tmp_path / "a", lines, tail='[1]\n{"loss": 0.')
    found = read_scalars(file)
    assert math.isnan(found.lines[0].values["loss"])
    assert found.lines[1].values["loss"] == math.inf
    assert found.notes == [
        f"{file}:3 is no JSON object; it is left out",
        f"{file}:4 is cut off, as by a kill in the middle of it; it is left out",
    ]


def test_a_folder_without_scalars_says_what_was_looked_for(tmp_path):
    (tmp_path / "digits").mkdir()
    with pytest.raises(WorkDirError, match=r"digit' is no folder of a run\. Did you mean .*digits'\?"):
        find_parts(tmp_path / "digit")
    with pytest.raises(WorkDirError, match=r"has no scalars: looked for .*scalars\.json"):
        find_parts(tmp_path / "digits")


def test_a_damaged_record_of_the_resume_is_as_none(tmp_path):
    file = write(tmp_path / "20250101_000000", [train_line(10)])
    (file.parent / "resumed.json").write_text("{")
    assert read_run(tmp_path).resumed_at == []


def test_a_cut_names_the_points_that_go_and_those_that_stay(tmp_path):
    lines = [train_line(10), train_line(40), val_line(1, 40, 0.5), train_line(50), val_line(2, 80, 0.6)]
    cut = Cut.of([write(tmp_path / "a", lines), tmp_path / "none.json"], 45)
    assert (cut.dropped["loss"], cut.dropped["acc"]) == ([(50, 0.02)], [(2, 0.6)])
    assert cut.drops("acc", 2, 0.6 + 1e-8)
    assert not cut.drops("acc", 2, 0.61)
    assert not cut.drops("acc", 1, 0.5)
    assert "acc" not in Cut.of([tmp_path / "a" / "vis_data" / "scalars.json"], 40, val_due=True).kept
    assert (cut.kept["acc"], [step for step, _ in cut.kept["loss"]]) == ([(1, 0.5)], [10, 40])
    assert Cut.of([], 3).dropped == {}

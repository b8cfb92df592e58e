"""What hooks of MMCV 1.x see of a run, call by call: as MMCV 1.7.2 was recorded to do it."""

import pytest
from mmcv1_scenarios import CYCLE, resumed
from mmcv1_scenarios_ends import SCENARIOS
from mmcv1_transcripts import FOLDER, Run, seen

from trainwright.compat.mmcv1 import runner as ours


def kept(name):
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_of_ours_is_as_recorded(tmp_path, name):
    assert SCENARIOS[name](ours, tmp_path).transcript.text().splitlines() == kept(name)


@pytest.mark.mmcv1
@pytest.mark.filterwarnings("ignore")  # MMCV's own warnings
@pytest.mark.parametrize("name", SCENARIOS)
def test_what_was_recorded_is_what_mmcv_does(real_mmcv, tmp_path, name):
    assert SCENARIOS[name](real_mmcv.runner, tmp_path).transcript.text().splitlines() == kept(name)


PLACES = {
    "after the first epoch": ("after_train_epoch", lambda runner: runner.epoch == 0),
    "before a validation": ("after_train_epoch", lambda runner: runner.epoch == 1),
    "inside an epoch": ("after_train_iter", lambda runner: runner.iter == 4),
    "at the end of a validation": ("after_val_epoch", lambda runner: runner.epoch == 2),
}
# Calls that come again: an epoch of training is entered again, and a validation is made again from its beginning.
ENTERED_AGAIN = {"inside an epoch": 2, "at the end of a validation": 14}


@pytest.mark.parametrize("place", PLACES)
def test_a_run_of_ours_goes_on_in_its_workflow(tmp_path, place):
    """MMCV begins the round anew, with as many epochs of training as it has; ours goes on as if it had not stopped."""
    at, when = PLACES[place]
    cut = []

    def then(event, runner):
        if event == at and when(runner):
            runner.save_checkpoint(str(tmp_path), filename_tmpl="made.pth", create_symlink=False)
            cut.append(len(whole.transcript.lines))

    whole = Run(ours, max_epochs=4, then=then)
    whole(CYCLE)
    rest = resumed(ours, tmp_path / "made.pth", CYCLE, max_epochs=4)
    # Without "now" and the two calls of before_run, and without the last call of the event that saved.
    found, wanted = events(rest.transcript.lines[3:]), events(whole.transcript.lines[cut[0] + 1 :])
    if place in ENTERED_AGAIN:
        n = ENTERED_AGAIN[place]
        assert found[:2] == [[who, f"before_{at.split('_')[1]}_epoch"] for who in ("first", "last")]
        found = found[n:]
    assert found == wanted
    ends = [{**seen(run.runner), "kept": ""} for run in (rest, whole)]  # what was to be averaged for a log line is gone
    assert ends[0] == ends[1]


def events(lines):
    return [line.split()[:2] for line in lines]


def test_no_transcript_is_left_over():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(SCENARIOS)

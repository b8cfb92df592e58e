import pytest

from trainwright.state import Clock, Completing, Progress


def test_a_fresh_clock_has_completed_nothing():
    assert Clock().as_completed() == Progress(epoch=0, iter=0, inner_iter=0)


@pytest.mark.parametrize(
    ("completing", "expected"),
    [
        (Completing.NOTHING, Progress(2, 25, 5)),
        (Completing.ITERATION, Progress(2, 26, 6)),
        (Completing.EPOCH, Progress(3, 25, 0)),
    ],
)
def test_as_completed_counts_the_unit_whose_events_are_being_fired(completing, expected):
    clock = Clock(epoch=2, iter=25, inner_iter=5, completing=completing)
    assert clock.as_completed() == expected
    assert (clock.epoch, clock.iter, clock.inner_iter) == (2, 25, 5)  # asking changes nothing


def test_ticks_and_epochs_agree_with_as_completed():
    clock = Clock(epoch_length=3)
    for _ in range(3):
        clock.completing = Completing.ITERATION
        expected = clock.as_completed()
        clock.tick()
        assert clock.as_completed() == expected
    clock.completing = Completing.EPOCH
    expected = clock.as_completed()
    clock.close_epoch()
    assert clock.as_completed() == expected == Progress(1, 3, 0)


def test_state_round_trip_holds_completed_units_only():
    clock = Clock(epoch=1, iter=7, inner_iter=2, completing=Completing.ITERATION)
    state = clock.state_dict()
    assert {name: state[name] for name in ("epoch", "iter", "inner_iter")} == {"epoch": 1, "iter": 8, "inner_iter": 3}
    other = Clock(completing=Completing.EPOCH)
    other.load_state_dict(state)
    assert other.as_completed() == Progress(1, 8, 3)
    assert other.completing is Completing.NOTHING


def test_a_pending_validation_is_saved():
    state = Clock(val_due=True).state_dict()
    clock = Clock()
    clock.load_state_dict(state)
    assert clock.val_due is True


def test_files_of_other_engines_lack_inner_iter():
    clock = Clock(inner_iter=4, val_due=True)
    clock.load_state_dict({"epoch": 3, "iter": 30})
    assert clock.as_completed() == Progress(3, 30, 0)
    assert clock.val_due is False

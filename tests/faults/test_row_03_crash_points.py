"""A save is cut off before each call to the operating system and inside each write: a checkpoint is there."""

import pytest
from harness import HALF_OF_LAYOUTS, Work, small_config
from saves import SCENARIOS, Expected, at_a_save, cut_at_each_point, prepared


def cut_off_everywhere(folder, layout, scenario):
    """How many crash points there are, and what went wrong at which."""
    at, settings = prepared(folder, layout, scenario)
    points, problems = [], []

    def experiment(save):
        expected = Expected(Work(small_config(folder.with_name("reader"), layout)))
        safe = expected.learn(folder) if scenario != "first save" else 0
        yield from cut_at_each_point(save, expected, at, safe, points, problems)

    at_a_save(folder, at, experiment, has_best=scenario == "with the best", **settings)
    return points, problems


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("layout", HALF_OF_LAYOUTS)
def test_a_checkpoint_is_left_at_every_crash_point(tmp_path, layout, scenario):
    points, problems = cut_off_everywhere(tmp_path / "run", layout, scenario)
    assert problems == []
    assert len(points) >= 20

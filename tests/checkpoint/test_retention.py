"""Which checkpoints stay."""

import pytest

from trainwright.checkpoint.retention import Ranking, Retention


def kept(retention, numbers, **settings):
    """What lies on the disk after saves with these numbers."""
    disk = []
    for number in numbers:
        disk.append(str(number))
        for path in retention.add(str(number), number, **settings):
            disk.remove(path)
        retention.removed(list(retention.doomed))
    return [int(path) for path in disk]


@pytest.mark.parametrize(
    ("max_keep", "every", "expected"),
    [
        (-1, 0, [1, 2, 3, 4, 5, 6, 7]),
        (1, 0, [7]),
        (3, 0, [5, 6, 7]),
        (2, 3, [3, 6, 7]),
        (1, 2, [2, 4, 6, 7]),
        (9, 3, [1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_the_last_ones_and_every_so_often(max_keep, every, expected):
    assert kept(Retention(max_keep, every), range(1, 8)) == expected


def test_only_verified_ones_are_counted():
    bad = {"5", "6"}
    retention = Retention(2)
    assert kept(retention, range(1, 7), is_verified=lambda path: path not in bad) == [4, 5, 6]
    assert kept(retention, [7], is_verified=lambda path: path not in bad) == [7]  # and 4, 5, 6 from before stay:
    assert retention.saved == ["4", "5", "6", "7"]
    bad.clear()
    assert retention.add("8", 8, lambda path: path not in bad) == ["4", "5", "6"]


def test_the_one_that_is_about_to_be_saved_is_never_among_those_that_go():
    retention = Retention(1)
    for path in ["a", "b", "a", "a"]:
        assert path not in retention.add(path)
    assert retention.saved == ["a"]
    retention.doom(["best_1", "best_2"], newest="best_2")
    assert "best_2" not in retention.doomed
    assert "best_1" in retention.doomed


def test_what_must_go_is_remembered_until_it_is_gone():
    retention = Retention(1)
    retention.add("1")
    assert retention.add("2") == ["1"]
    again = Retention(1)  # killed before the deletion, and resumed from 2
    again.load_state_dict(retention.state_dict())
    assert again.doomed == ["1"]
    assert again.add("3") == ["1", "2"]
    again.removed(["1"])
    assert again.doomed == ["2"]
    again.load_state_dict({"saved": ["7"]})  # of a file without the other lists
    assert (again.saved, again.forever, again.doomed) == (["7"], [], [])


def test_a_resume_goes_on_exactly():
    whole, first = Retention(2, 3), Retention(2, 3)
    together = kept(whole, range(1, 10))
    disk = kept(first, range(1, 6))
    second = Retention(2, 3)
    second.load_state_dict(first.state_dict())
    for number in range(6, 10):
        disk.append(number)
        for path in second.add(str(number), number):
            disk.remove(int(path))
        second.removed(list(second.doomed))
    assert disk == together
    assert second.state_dict() == whole.state_dict()


def test_a_copy_goes_its_own_way():
    retention = Retention(2, 3, ["1"], ["3"], ["0"])
    before = retention.copy()
    retention.add("2", 6)
    assert before == Retention(2, 3, ["1"], ["3"], ["0"])


@pytest.mark.parametrize(
    ("n_kept", "is_greater", "expected"),
    [(1, True, [9]), (1, False, [1]), (2, True, [9, 5]), (3, False, [1, 2, 3])],
)
def test_the_best_ones(n_kept, is_greater, expected):
    ranking, disk = Ranking(n_kept, is_greater), []
    for step, value in enumerate([3.0, 5.0, float("nan"), 2.0, 9.0, 5.0, 1.0, float("nan")]):
        if ranking.enters(value):
            disk.append(f"{step}")
            for path in ranking.add(value, f"{step}"):
                disk.remove(path)
    assert [score for score, _ in ranking.entries] == expected
    assert sorted(disk) == sorted(path for _, path in ranking.entries)


def test_an_equal_value_is_no_better():
    ranking = Ranking(1)
    ranking.add(1.0, "first")
    assert not ranking.enters(1.0)
    several = Ranking(2, True, [(2.0, "a"), (1.0, "b")])
    assert not several.enters(1.0)
    assert several.add(2.0, "c") == ["b"]
    assert several.entries == [(2.0, "a"), (2.0, "c")]  # the earlier one stays before


def test_the_same_path_again_is_the_same_checkpoint():
    ranking = Ranking(2, True, [(2.0, "a"), (1.0, "b")])
    assert ranking.add(3.0, "b") == []
    assert ranking.entries == [(3.0, "b"), (2.0, "a")]

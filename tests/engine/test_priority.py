import pytest

from trainwright.base.errors import HookError
from trainwright.engine import Priority, get_priority, priority_name


def test_the_nine_names_and_their_numbers():
    assert {member.name: member.value for member in Priority} == {
        "HIGHEST": 0,
        "VERY_HIGH": 10,
        "HIGH": 30,
        "ABOVE_NORMAL": 40,
        "NORMAL": 50,
        "BELOW_NORMAL": 60,
        "LOW": 70,
        "VERY_LOW": 90,
        "LOWEST": 100,
    }


@pytest.mark.parametrize(
    ("given", "number"), [("LOW", 70), ("very_high", 10), (Priority.HIGH, 30), (0, 0), (100, 100), (55, 55)]
)
def test_names_numbers_and_members(given, number):
    assert get_priority(given) == number


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(HookError, match=r"'NORMALL' is unknown.*0 to 100.*VERY_HIGH.*Did you mean 'NORMAL'") as caught:
        get_priority("NORMALL")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("number", [-1, 101])
def test_a_number_out_of_range(number):
    with pytest.raises(
        HookError, match=rf"priority must be between 0 and 100, the earliest and the latest, not {number}"
    ):
        get_priority(number)


@pytest.mark.parametrize("value", [None, 1.5, True, [50]])
def test_a_value_of_another_type(value):
    with pytest.raises(TypeError, match="priority must be an integer or Priority enum value"):
        get_priority(value)


def test_numbers_without_a_name_stay_numbers():
    assert priority_name(70) == "LOW"
    assert priority_name(55) == "55"

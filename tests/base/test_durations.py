import pytest

from trainwright.base.durations import Duration, parse_duration, seconds_of, whole_number
from trainwright.base.errors import ConfigError, ConfigTypeError


@pytest.mark.parametrize(
    ("text", "amount", "kind"),
    [
        ("90k it", 90_000, "it"),
        ("90kit", 90_000, "it"),
        ("1_000 iterations", 1000, "it"),
        ("1.5k it", 1500, "it"),
        ("2e3 it", 2000, "it"),
        ("10ba", 10, "it"),
        ("12 ep", 12, "ep"),
        ("1 Epoch", 1, "ep"),
        ("300M tok", 300_000_000, "tok"),
        ("2B tokens", 2_000_000_000, "tok"),
        (" 8 h ", 28_800, "s"),
        ("1d 12h", 129_600, "s"),
        ("1h30m20s", 5420, "s"),
        ("5 min", 300, "s"),
        ("0.5 hours", 1800, "s"),
        ("2 ep 3 ep", 5, "ep"),
    ],
)
def test_durations(text, amount, kind):
    assert parse_duration(text, "max_duration") == Duration(amount, kind)


@pytest.mark.parametrize("text", ["90k it", "12 ep", "300M tok", "1d 12h"])
def test_a_duration_as_text_says_the_same(text):
    found = parse_duration(text, "x")
    assert parse_duration(str(found).replace(",", ""), "x") == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("90k", "max_duration must be a number with a unit.*but got '90k'. The unit is missing: it, ep, tok, d, h"),
        ("5M", "The unit is missing"),
        ("12 epohcs", "There is no unit 'epohcs': units are it, ep.*Did you mean 'epochs'"),
        ("3 weeks", "There is no unit 'weeks'"),
        ("8 h 3 it", "has iterations and time in one: give one kind. Beside max_epochs or max_iters"),
        ("", "but got ''. Units are it, ep, tok"),
        ("soon", "but got 'soon'. Units are"),
        ("8 h, 3 h", "but got '8 h, 3 h'"),
        ("-3 h", "but got '-3 h'"),
        ("0 it", "but got '0 it'"),
        ("0 s", "but got '0 s'"),
        ("1.5 ep", "1.5 is no whole number"),
    ],
)
def test_what_is_no_duration(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_duration(text, "max_duration")


def test_a_number_is_no_duration():
    with pytest.raises(ConfigTypeError, match="max_duration must be a number with a unit, .* but got 90"):
        parse_duration(90, "max_duration")


@pytest.mark.parametrize("value", [90_000, 90_000.0, "90k", "90k it", "90000", "0.09M iters"])
def test_whole_numbers(value):
    assert whole_number(value, "max_iters", "it") == 90_000


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("12 ep", "max_iters must be a whole number.*but got '12 ep', which is in epochs. Set train_cfg=dict"),
        ("8 h", "which is in time"),
        ("1.5", "no whole number"),
        (0, "max_iters must be at least 1, but got 0"),
        ("0", "but got '0'"),
        ("many", "but got 'many'. Units are"),
        (1.5, "max_iters must be a whole number, .* but got 1.5. Set train_cfg=dict"),
    ],
)
def test_what_is_no_whole_number(value, message):
    with pytest.raises(ConfigError, match=message):
        whole_number(value, "max_iters", "it")


def test_seconds():
    assert [seconds_of(value, "x") for value in (7, 2.5, "90min", "1d 12h")] == [7, 2.5, 5400, 129_600]
    with pytest.raises(ConfigError, match="x must be a number of seconds above 0, .* but got '3 ep'. Units are d, h"):
        seconds_of("3 ep", "x")

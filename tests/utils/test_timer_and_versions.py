import pytest

from trainwright.base.errors import TrainwrightError
from trainwright.utils import Timer, TimerError, digit_version, get_git_hash, is_abs, scandir
from trainwright.utils.version_utils import VersionError


def test_a_timer_that_does_not_run():
    with pytest.raises(TimerError, match=r"timer is not running: start\(\) it before") as caught:
        Timer(start=False).since_start()
    assert isinstance(caught.value, TrainwrightError)
    assert caught.value.message in str(caught.value)


def test_a_text_that_is_no_version():
    with pytest.raises(VersionError, match="failed to parse version 'one.two'"):
        digit_version("one.two")


def test_the_hash_outside_of_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_git_hash() == "unknown"
    assert get_git_hash("none here", digits=3) == "none here"
    with pytest.raises(TypeError, match="digits must be None or an int, got '3' of type str"):
        get_git_hash(digits="3")


def test_absolute_is_what_has_a_root():
    assert is_abs("gs://bucket/key")
    assert is_abs("/a")
    assert not is_abs("a:b")


def test_messages_of_scandir(tmp_path):
    with pytest.raises(TypeError, match="dir_path must be a str or a Path, got 1 of type int"):
        scandir(1)
    with pytest.raises(TypeError, match="suffix must be a str or a tuple of str, got 1 of type int"):
        scandir(tmp_path, 1)

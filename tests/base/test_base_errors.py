import pickle
import sys

import pytest

from trainwright.base import errors
from trainwright.base.errors import ConfigError, ConfigNotFoundError, CustomImportError, Interrupted, RegistryError
from trainwright.base.optional import require


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigError", ValueError),
        ("ConfigTypeError", TypeError),
        ("ConfigNotFoundError", FileNotFoundError),
        ("CustomImportError", ImportError),
        ("RegistryError", KeyError),
        ("HookError", ValueError),
        ("CheckpointError", RuntimeError),
        ("DataError", RuntimeError),
        ("NonFiniteLossError", FloatingPointError),
        ("LossSpikeError", ArithmeticError),
        ("WorkDirError", OSError),
        ("MissingExtraError", ImportError),
    ],
)
def test_each_error_is_ours_and_the_builtin_that_callers_catch(name, builtin):
    error = getattr(errors, name)("what, why\nand how")
    assert isinstance(error, builtin)
    assert isinstance(error, errors.TrainwrightError)
    assert str(error) == "what, why\nand how"


@pytest.mark.parametrize("cls", [ConfigError, ConfigNotFoundError, CustomImportError])
def test_config_error_says_the_place_once_also_after_pickling(cls):
    error = pickle.loads(pickle.dumps(cls("is wrong", "a.py", 3)))
    assert type(error) is cls
    assert str(error) == "a.py:3: is wrong"
    assert (error.filename, error.lineno) == ("a.py", 3)
    assert str(cls("is wrong", "a.py")) == "a.py: is wrong"


def test_interrupted_is_no_ordinary_exception_and_knows_the_checkpoint():
    error = Interrupted("stopped", checkpoint="last.pth")
    assert not isinstance(error, Exception)
    assert error.checkpoint == "last.pth"
    assert Interrupted().checkpoint is None


def test_note_keeps_the_type_and_shows_in_the_traceback():
    error = RegistryError("no X")
    errors.add_note(error, "while building Y")
    shown = error.__notes__ if sys.version_info >= (3, 11) else [str(error)]
    assert "while building Y" in shown[-1]


def test_note_without_support_for_notes_goes_into_the_message():
    class Old(ValueError):
        add_note = property()  # hasattr() says no, as on Python 3.10

    error = Old("no X")
    errors.add_note(error, "while building Y")
    assert str(error) == "no X\nwhile building Y"


def test_require_names_the_extra():
    assert require("json", "vis", "reading") is sys.modules["json"]
    message = r"drawing curves needs the package 'no_such.part', .*: pip install 'trainwright\[vis\]'"
    with pytest.raises(errors.MissingExtraError, match=message):
        require("no_such.part", "vis", "drawing curves")


def test_require_lets_a_broken_package_speak_for_itself(tmp_path, monkeypatch):
    (tmp_path / "broken_pkg_tw.py").write_text("import something_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_that_is_not_there") as info:
        require("broken_pkg_tw", "vis", "drawing curves")
    assert not isinstance(info.value, errors.MissingExtraError)

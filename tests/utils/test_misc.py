import logging
import sys

import pytest

from trainwright.base.errors import RuleError
from trainwright.base.logs import MMLogger
from trainwright.utils import (
    check_prerequisites,
    deprecated_api_warning,
    deprecated_function,
    get_object_from_string,
    import_modules_from_strings,
    is_method_overridden,
    is_seq_of,
    iter_cast,
    slice_list,
)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: iter_cast(5, str), TypeError, "inputs must be iterable, got 5 of type int"),
        (lambda: iter_cast([5], "str"), TypeError, "dst_type must be a type, got 'str'"),
        (lambda: is_seq_of([1], int, "list"), RuleError, "seq_type must be a type, got 'list'"),
        (lambda: slice_list([1, 2, 3], 2), RuleError, "3 items cannot be cut into parts of 2"),
        (lambda: slice_list([1, 2, 3], 1.5), TypeError, "lens must be an int or a list of int, got 1.5 of type float"),
        (lambda: slice_list([1, 2, 3], [1]), ValueError, "lengths must add up to the 3 items of the list, got 1"),
        (lambda: is_method_overridden("a", 3, int), RuleError, "base_class must be a class and no instance of one"),
        (lambda: import_modules_from_strings(7), TypeError, "must be a str or a list of str, got 7 of type int"),
        (lambda: import_modules_from_strings([7]), TypeError, "must be named by a str, got 7 of type int"),
        (lambda: import_modules_from_strings("no_such_x"), ImportError, "cannot import 'no_such_x': No module named"),
    ],
)
def test_messages(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_a_missing_prerequisite_is_named_in_the_error_too(capsys):
    with pytest.raises(RuntimeError, match="Prerequisites not meet. absent of work"):
        check_prerequisites("absent", lambda item: False, msg_tmpl="{} of {}")(work)()
    assert capsys.readouterr().out == "absent of work\n"


def work(new=0):
    return new


def test_an_argument_under_both_names():
    with pytest.raises(RuleError, match="work got 'old', and 'new' which replaces it: leave out 'old'"):
        deprecated_api_warning({"old": "new"})(work)(old=1, new=2)


def test_a_module_that_cannot_be_left_out_says_why(monkeypatch, tmp_path):
    (tmp_path / "broken_by_itself.py").write_text("import absent_of_broken\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(
        UserWarning, match="broken_by_itself cannot be imported and is left out: No module named 'absent"
    ):
        assert import_modules_from_strings("broken_by_itself", allow_failed_imports=True) is None
    # What is there and fails is no name that nothing has.
    with pytest.raises(ModuleNotFoundError, match="absent_of_broken"):
        get_object_from_string("broken_by_itself.name")
    assert get_object_from_string("absent_altogether.name") is None


def test_a_thing_counts_before_the_module_of_its_name(monkeypatch, tmp_path):
    package = tmp_path / "package_of_both"
    package.mkdir()
    (package / "__init__.py").write_text("from package_of_both.thing import thing\n")
    (package / "thing.py").write_text("def thing():\n    return 'called'\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert get_object_from_string("package_of_both.thing")() == "called"
    finally:
        for name in ("package_of_both", "package_of_both.thing"):
            sys.modules.pop(name, None)


def test_a_deprecated_function_logs_once_a_logger():
    logger = MMLogger.get_instance("test_misc_deprecated")
    seen = []
    logger.handlers[0].handle = lambda record: seen.append((record.levelno, record.getMessage()))
    try:
        with logger.as_current():
            assert deprecated_function("1", "2", "call other()")(work)(3) == 3
    finally:
        logger.forget()
    text = f"'{__name__}.work' is deprecated in version 1 and will be removed in version 2. Please call other()."
    assert seen == [(logging.WARNING, text)]

import threading

import pytest

from trainwright.registry import DefaultScope, init_default_scope


@pytest.fixture(autouse=True)
def no_scope_before_or_after():
    yield
    for scope in list(DefaultScope._instance_dict.values()):
        scope.forget()


def current():
    scope = DefaultScope.get_current_instance()
    return scope and scope.scope_name


def test_none_until_set():
    assert current() is None
    DefaultScope.get_instance("run", scope_name="zoo")
    assert current() == "zoo"
    assert DefaultScope.check_instance_created("run")


def test_overwriting_lasts_for_the_block():
    with DefaultScope.overwrite_default_scope("zoo"):
        with DefaultScope.overwrite_default_scope("farm"):
            assert current() == "farm"
        with DefaultScope.overwrite_default_scope(None):
            assert current() == "zoo"
    assert current() is None


def test_overwriting_ends_with_an_error_and_stays_in_its_thread():
    seen = []

    def fail():
        with DefaultScope.overwrite_default_scope("zoo"):
            thread = threading.Thread(target=lambda: seen.append(current()))
            thread.start()
            thread.join()
            raise KeyError("within")

    with pytest.raises(KeyError, match="within"):
        fail()
    assert seen == [None]
    assert current() is None


def test_a_scope_created_within_a_block_holds_in_it():
    with DefaultScope.overwrite_default_scope("zoo"):
        DefaultScope.get_instance("run", scope_name="farm")
        assert current() == "farm"
    assert current() == "farm"


def test_init_default_scope_wins_over_what_was_there():
    init_default_scope("zoo")
    init_default_scope("zoo")
    init_default_scope("farm")
    assert current() == "farm"
    init_default_scope("zoo")
    assert current() == "zoo"


def test_scope_name_is_a_string():
    with pytest.raises(TypeError, match="scope_name must be a string, got 3 of type int"):
        DefaultScope.get_instance("x", scope_name=3)

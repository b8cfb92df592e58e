import threading

import pytest

from trainwright.base.errors import InstanceNameError
from trainwright.base.instances import ManagerMixin


@pytest.fixture
def classes():
    class Store(ManagerMixin):
        def __init__(self, name, size=0):
            super().__init__(name)
            self.size = size

    class BigStore(Store):
        pass

    return Store, BigStore


def test_an_instance_is_made_once_and_known_to_its_base_class(classes):
    store, big_store = classes
    one = big_store.get_instance("a", size=3)
    assert big_store.get_instance("a") is one
    assert store.get_instance("a") is one
    assert one.instance_name == "a"
    assert store.check_instance_created("a")
    assert not big_store.check_instance_created("b")


def test_current_is_the_last_one_created_outside_of_any_block(classes):
    store, _ = classes
    with pytest.raises(RuntimeError, match=r"no Store yet: call get_instance\(name\)"):
        store.get_current_instance()
    store.get_instance("a")
    b = store.get_instance("b")
    assert store.get_current_instance() is b


def test_current_is_the_innermost_block_in_this_thread_only(classes):
    store, big_store = classes
    a, b = big_store.get_instance("a"), store.get_instance("b")
    seen = []
    with a.as_current(), b.as_current():
        assert store.get_current_instance() is b
    with a.as_current():
        assert store.get_current_instance() is a
        assert big_store.get_current_instance() is a
        thread = threading.Thread(target=lambda: seen.append(store.get_current_instance()))
        thread.start()
        thread.join()
    assert seen == [b]
    assert store.get_current_instance() is b


def test_forget_frees_the_name_everywhere(classes):
    store, big_store = classes
    big_store.get_instance("a").forget()
    assert not store.check_instance_created("a")
    assert not big_store.check_instance_created("a")


def test_a_name_is_a_string(classes):
    store, _ = classes
    with pytest.raises(TypeError, match="name of a Store must be a string, got 3 of type int"):
        store.get_instance(3)
    with pytest.raises(ValueError, match="must be a non-empty string, got ''"):
        store("")


def test_a_class_whose_instances_have_no_name():
    with pytest.raises(InstanceNameError, match="Nameless.* must have the `name` argument in its constructor"):

        class _Nameless(ManagerMixin):
            def __init__(self, size): ...


def test_a_name_of_the_wrong_kind(classes):
    store, _ = classes
    with pytest.raises(InstanceNameError, match="name of a Store must be a string, got 7 of type int"):
        store.get_instance(7)
    with pytest.raises(InstanceNameError, match="name of a Store must be a non-empty string, got ''"):
        store("")


def test_arguments_for_an_instance_that_is_there(classes):
    store, _ = classes
    store.get_instance("a", size=1)
    with pytest.warns(UserWarning, match="there is a Store named 'a' already, and size of this call .* change nothing"):
        assert store.get_instance("a", size=2).size == 1

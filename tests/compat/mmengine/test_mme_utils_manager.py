"""mmengine.utils.manager: classes whose instances are found by name."""

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")


def managed():
    from mmengine.utils import ManagerMixin

    class One(ManagerMixin):
        def __init__(self, name="", *args, **kwargs):
            super().__init__(name, *args, **kwargs)

    class Two(ManagerMixin):
        def __init__(self, name="", *args, **kwargs):
            super().__init__(name, *args, **kwargs)

    return One, Two


def test_a_constructor_must_take_a_name():
    from mmengine.utils import ManagerMeta

    with pytest.raises(AssertionError, match="must have the `name` argument"):

        class _Without(metaclass=ManagerMeta):
            def __init__(self, a, *args, **kwargs): ...

    with pytest.raises(AssertionError, match="must have the `name` argument"):

        class _Any(metaclass=ManagerMeta):
            def __init__(self, *args, **kwargs): ...

    class Named(metaclass=ManagerMeta):
        def __init__(self, name):
            self.name = name

    assert Named._instance_dict == {}


def test_each_class_has_its_own_instances():
    one, two = managed()
    with pytest.raises(RuntimeError):
        one.get_current_instance()
    one.get_instance("a")
    two.get_instance("b")
    assert two._instance_dict != one._instance_dict
    assert one.check_instance_created("a")
    assert not one.check_instance_created("b")


def test_instances_by_name():
    one, _ = managed()
    first = one.get_instance("name1")
    assert first.instance_name == "name1"
    assert one.get_instance("name1") is first
    one.get_instance("name2")
    current = one.get_current_instance()
    assert current.instance_name == "name2"
    current.mark = -1
    assert one.get_instance("name3").instance_name == "name3"
    assert one.get_current_instance().instance_name == "name3"
    assert one.get_instance("name2").mark == -1
    assert one.get_current_instance().instance_name == "name3"
    with pytest.raises(AssertionError):
        one.get_instance(name=1)
    with pytest.warns(UserWarning, match="name2"):
        assert one.get_instance("name2", a=1, b=2).mark == -1


def test_a_name_is_a_text_that_is_not_empty():
    one, _ = managed()
    for name in ("", 1):
        with pytest.raises(AssertionError):
            one(name=name)

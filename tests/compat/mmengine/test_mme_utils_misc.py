"""mmengine.utils.misc: casts, checks, things by name, requirements, what is deprecated."""

import logging
import os.path
import sys
from collections import namedtuple

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("mmengine")


def test_tuples_of_a_number_of_items():
    from mmengine.utils.misc import to_1tuple, to_2tuple, to_3tuple, to_4tuple, to_ntuple

    for n_items, parse in enumerate((to_1tuple, to_2tuple, to_3tuple, to_4tuple, to_ntuple(5)), start=1):
        assert parse(2) == (2,) * n_items
    assert to_3tuple([1, 2]) == [1, 2]


def test_casts():
    from mmengine.utils.misc import iter_cast, list_cast, tuple_cast

    assert list_cast(["1.1", 2, "3"], float) == [1.1, 2.0, 3.0]
    assert list_cast([1, 2, 3], str) == ["1", "2", "3"]
    assert tuple_cast((1, 2, 3), str) == ("1", "2", "3")
    assert next(iter_cast([1, 2, 3], str)) == "1"
    with pytest.raises(TypeError):
        iter_cast([1, 2, 3], "")
    with pytest.raises(TypeError):
        iter_cast(1, str)


def test_sequences():
    from mmengine.utils.misc import concat_list, is_list_of, is_seq_of, is_str, is_tuple_of, slice_list

    assert is_seq_of([1.0, 2.0, 3.0], float)
    assert is_seq_of([(1,), (2,), (3,)], tuple)
    assert is_seq_of((1.0, 2.0, 3.0), float)
    assert is_list_of([1.0, 2.0, 3.0], float)
    assert not is_seq_of((1.0, 2.0, 3.0), float, seq_type=list)
    assert not is_tuple_of([1.0, 2.0, 3.0], float)
    assert not is_seq_of([1.0, 2, 3], int)
    assert not is_seq_of((1.0, 2, 3), int)
    assert is_seq_of([1, "2"], (int, str))
    with pytest.raises(AssertionError):
        is_seq_of([1], int, seq_type="list")
    assert is_str("a")
    assert not is_str(1)
    items = [1, 2, 3, 4, 5, 6]
    assert slice_list(items, [1, 2, 3]) == [[1], [2, 3], [4, 5, 6]]
    assert slice_list(items, [len(items)]) == [items]
    assert slice_list(items, 3) == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(TypeError):
        slice_list(items, 2.0)
    with pytest.raises(ValueError):  # noqa: PT011 - the type is what counts
        slice_list(items, [1, 2])
    with pytest.raises(AssertionError):
        slice_list(items, 4)
    assert concat_list([[1, 2]]) == [1, 2]
    assert concat_list([[1, 2], [3, 4, 5], [6]]) == items


@pytest.mark.parametrize(
    ("decorator", "there", "absent"),
    [("requires_package", "numpy", ["nnn", "n1", "n2"]), ("requires_executable", "mv", ["nnn", "n1", "n2"])],
)
def test_requirements(capfd, decorator, there, absent):
    import mmengine.utils

    requires = getattr(mmengine.utils, decorator)

    def work():
        return 1

    assert requires(there)(work)() == 1
    capfd.readouterr()
    with pytest.raises(RuntimeError, match="Prerequisites not meet."):
        requires(absent[0])(work)()
    text = 'Prerequisites "{}" are required in method "work" but not found, please install them first.\n'
    assert capfd.readouterr().out.endswith(text.format("nnn"))
    with pytest.raises(RuntimeError, match="Prerequisites not meet."):
        requires([there, *absent[1:]])(work)()
    assert capfd.readouterr().out.endswith(text.format("n1, n2"))


def test_modules_by_name():
    from mmengine.utils.misc import import_modules_from_strings

    assert import_modules_from_strings(["os.path", "sys"]) == [os.path, sys]
    assert import_modules_from_strings("os.path") is os.path
    for nothing in (None, [], ""):
        assert import_modules_from_strings(nothing) is None
    for wrong in (1, [1]):
        with pytest.raises(TypeError):
            import_modules_from_strings(wrong)
    with pytest.raises(ImportError):
        import_modules_from_strings("_not_implemented_module")
    with pytest.warns(UserWarning, match="_not_implemented"):
        assert import_modules_from_strings("_not_implemented_module", allow_failed_imports=True) is None
    with pytest.warns(UserWarning, match="_not_implemented"):
        found = import_modules_from_strings(["os.path", "_not_implemented"], allow_failed_imports=True)
    assert found == [os.path, None]


class Base:
    def foo1(self): ...

    def foo2(self): ...


class Child(Base):
    def foo1(self): ...


def test_methods():
    from mmengine.utils.misc import has_method, is_method_overridden

    assert is_method_overridden("foo1", Base, Child)
    assert not is_method_overridden("foo2", Base, Child)
    assert is_method_overridden("foo1", Base, Child())
    assert not is_method_overridden("foo2", Base, Child())
    with pytest.raises(AssertionError):
        is_method_overridden("foo1", Base(), Child)
    assert has_method(Child(), "foo2")
    assert not has_method(Child(), "foo3")


def test_deprecated_arguments():
    from mmengine.utils import deprecated_api_warning

    @deprecated_api_warning(name_dict={"old_key": "new_key"}, cls_name="Class")
    def work(new_key=1):
        return new_key

    with pytest.warns(
        DeprecationWarning, match='"old_key" is deprecated in `Class.work`, please use "new_key" instead'
    ):
        assert work(old_key=2) == 2
    assert work(3) == 3
    with pytest.raises(AssertionError):
        work(old_key=1, new_key=2)


def test_a_deprecated_function(capsys):
    from mmengine.logging import MMLogger
    from mmengine.utils import deprecated_function

    # fmt: off
    @deprecated_function("0.2.0", "0.3.0", "toy instruction")
    def several(arg1: int, arg2: int) -> tuple:
        """This is a long summary. This is a long summary. This is a long
        summary. This is a long summary.

        Args:
            arg1 (int): Long description with a line break. Long description
                with a line break.
            arg2 (int): short description.

        Returns:
            Long description without a line break.
        """
        return arg1, arg2

    @deprecated_function("0.2.0", "0.3.0", "toy instruction")
    def short():
        """Short summary."""
    # fmt: on
    note = (
        ".. deprecated:: 0.2.0\n    Deprecated and will be removed in version 0.3.0.\n    Please toy instruction.\n\n\n"
    )
    assert short.__doc__ == f"{note}    Short summary."
    assert several.__doc__ == note + (
        "    This is a long summary. This is a long summary. This is a long\n"
        "    summary. This is a long summary.\n\n"
        "    Args:\n"
        "        arg1 (int): Long description with a line break. Long description\n"
        "            with a line break.\n"
        "        arg2 (int): short description.\n\n"
        "    Returns:\n"
        "        Long description without a line break.\n"
    )
    logger = MMLogger.get_instance("test_deprecated_function")
    seen = []
    logger.addFilter(lambda record: seen.append((record.levelno, record.getMessage())))
    assert several(1, 2) == (1, 2)
    MMLogger._instance_dict.clear()
    assert seen == [
        (
            logging.WARNING,
            f"'{__name__}.several' is deprecated in version 0.2.0 and will be removed in version 0.3.0. "
            "Please toy instruction.",
        )
    ]


def test_apply_to():
    from mmengine.config import ConfigDict
    from mmengine.utils import apply_to

    def is_int(value):
        return isinstance(value, int)

    assert apply_to({"a": 1, "b": 2.0}, is_int, lambda x: x + 1) == {"a": 2, "b": 2.0}
    found = apply_to({"a": [{"c": 1}], "b": 2.0}, is_int, lambda x: x + 1)
    assert found == {"a": [{"c": 2}], "b": 2.0}
    nested = {"a": [{"c": torch.tensor(1)}], "b": torch.tensor(2)}
    found = apply_to(nested, lambda x: isinstance(x, torch.Tensor), lambda x: x.numpy())
    assert isinstance(found["b"], np.ndarray)
    assert isinstance(found["a"][0]["c"], np.ndarray)
    found = apply_to((1, {"a": [{"b": 2.0}]}, "test"), lambda x: x in (1, "test"), lambda x: f"{x}!")
    assert found == ("1!", {"a": [{"b": 2.0}]}, "test!")
    pair = namedtuple("pair", "left right")
    assert apply_to(pair(1, [2]), is_int, lambda x: x + 1) == pair(2, [3])
    found = apply_to(ConfigDict(a=1, b=ConfigDict(c=2)), is_int, lambda x: x + 1)
    assert isinstance(found, ConfigDict)
    assert isinstance(found.b, ConfigDict)
    assert found == {"a": 2, "b": {"c": 3}}


def test_objects_by_name():
    import mmengine.model
    from mmengine.utils import get_object_from_string

    assert get_object_from_string("a.b.c") is None
    assert get_object_from_string("mmengine.model") is mmengine.model
    assert get_object_from_string("mmengine.model.BaseModel") is mmengine.model.BaseModel
    assert get_object_from_string("mmengine.model.base_model.BaseModel.forward") is mmengine.model.BaseModel.forward
    assert get_object_from_string("torch.optim.sgd.SGD") is torch.optim.SGD
    assert get_object_from_string("torch.optim.sgd.SGDx") is None
    assert get_object_from_string("torch.optim.SGD.no_such") is None
    assert get_object_from_string("os.path") is os.path
    assert get_object_from_string("mmengine.dist.barrier") is mmengine.dist.barrier

"""What tests are written with: comparisons, a test case that builds runners, and one of several processes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainwright.testing.compare import (
        assert_allclose,
        assert_attrs_equal,
        assert_dict_contains_subset,
        assert_dict_has_keys,
        assert_is_norm_layer,
        assert_keys_equal,
        assert_params_all_zeros,
        check_python_script,
    )
    from trainwright.testing.multi_process import MultiProcessTestCase
    from trainwright.testing.runner_test_case import RunnerTestCase

__all__ = [
    "MultiProcessTestCase",
    "RunnerTestCase",
    "assert_allclose",
    "assert_attrs_equal",
    "assert_dict_contains_subset",
    "assert_dict_has_keys",
    "assert_is_norm_layer",
    "assert_keys_equal",
    "assert_params_all_zeros",
    "check_python_script",
]
_HOMES = {"MultiProcessTestCase": "multi_process", "RunnerTestCase": "runner_test_case"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'compare')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

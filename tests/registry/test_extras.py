"""Names that the package has beyond MMEngine's, and gives up to a project that has them too."""

import pytest

from trainwright.base.errors import RegistryError
from trainwright.registry import Registry


def registry_with_extra():
    registry = Registry("thing", scope="extras")

    @registry.register_extra
    class Chair:
        pass

    return registry, Chair


def test_an_extra_is_found_as_any_other():
    registry, chair = registry_with_extra()
    assert registry.get("Chair") is chair
    assert isinstance(registry.build({"type": "Chair"}), chair)
    assert registry.module_dict == {"Chair": chair}


def test_a_project_takes_the_name_and_then_has_it_for_good():
    registry, _ = registry_with_extra()

    class Chair:
        pass

    assert registry.register_module()(Chair) is Chair
    assert registry.get("Chair") is Chair
    with pytest.raises(RegistryError, match=r"Chair is already registered in thing at .*force=True"):
        registry.register_module(name="Chair", module=int)


def test_what_a_project_has_registered_before_stays():
    registry = Registry("thing", scope="extras")
    registry.register_module(name="int", module=float)
    assert registry.register_extra(int) is int
    assert registry.get("int") is float


def test_names_that_mmengine_has_are_not_given_up():
    from trainwright.hooks import EMAHook
    from trainwright.registry import HOOKS

    with pytest.raises(RegistryError, match="EMAHook is already registered"):
        HOOKS.register_module(name="EMAHook", module=int)
    assert HOOKS.get("EMAHook") is EMAHook

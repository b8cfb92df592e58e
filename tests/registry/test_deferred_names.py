"""Names whose object is imported when it is looked up."""

from __future__ import annotations

import pytest

from trainwright.base.errors import MissingExtraError, RegistryError
from trainwright.registry import Registry


def absent():
    raise MissingExtraError("install it")


def test_a_deferred_name_is_loaded_when_it_is_named():
    calls = []
    registry = Registry("thing", scope="deferred")
    registry.register_deferred("Later", lambda: calls.append(1) or dict)
    assert len(registry) == 0
    assert "Later" in repr(registry)
    assert "imported when it is named" in repr(registry)
    with pytest.raises(RegistryError, match="Did you mean 'Later'"):
        registry.resolve("Latr")
    assert calls == []
    assert registry.get("Later") is dict
    assert "Later" in registry
    assert registry.build({"type": "Later", "a": 1}) == {"a": 1}
    child = Registry("thing", parent=registry, scope="deferred_child")
    assert child.resolve("Later") is child.resolve("deferred.Later") is dict


def test_a_name_registered_in_the_usual_way_goes_first():
    registry = Registry("thing", scope="deferred")
    registry.register_deferred("Taken", absent)
    registry.register_module(name="Taken", module=list)
    assert registry.resolve("Taken") is list


def test_a_missing_package_is_told_by_whoever_names_it():
    registry = Registry("thing", scope="deferred")
    registry.register_deferred("Absent", absent)
    assert "Absent" not in registry
    for look_up in (registry.get, registry.resolve, lambda name: registry.build({"type": name})):
        with pytest.raises(MissingExtraError, match="install it"):
            look_up("Absent")

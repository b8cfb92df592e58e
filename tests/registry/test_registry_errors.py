import pytest

from trainwright.base.errors import RegistryError
from trainwright.registry import Registry

BROKEN = "import json\nraise RuntimeError('needs a newer driver')\n"


def message_of(registry, key):
    with pytest.raises(RegistryError) as info:
        registry.resolve(key)
    return str(info.value)


def test_near_names_come_from_every_scope(tree):
    root, child = tree
    root.register_module(name="ResNet", module=int)
    child.register_module(name="ResNeXt", module=int)
    assert "Did you mean 'ResNet' or 'zoo.ResNeXt'?" in message_of(root, "ResNt")
    from_child = message_of(child, "ResNt")
    assert "ResNt is not in the zoo::model registry and its parent trainwright::model." in from_child
    assert "Did you mean 'ResNet' or 'ResNeXt'?" in from_child


def test_a_name_of_another_scope_says_how_to_reach_it(tree):
    root, child = tree
    child.register_module(name="Net", module=int)
    assert "Did you mean 'zoo.Net'?" in message_of(root, "Net")


@pytest.mark.parametrize("path", ["json.decoder.JSONDecodr", "json.decoder:JSONDecodr"])
def test_a_path_into_a_module_says_what_the_module_has(path):
    expected = (
        "is not in the things::m registry. The module 'json.decoder' has no 'JSONDecodr'. Did you mean 'JSONDecoder'?"
    )
    assert expected in message_of(Registry("m", scope="things"), path)


def test_the_line_to_add_names_the_registry_variable():
    message = message_of(THINGS, "Net")
    assert "put @THINGS.register_module() on it" in message
    assert "custom_imports=dict(imports=['your_module'])" in message
    assert "type='package.module.Name'" in message


def test_a_registry_in_no_variable_is_still_explained():
    assert "@REGISTRY.register_module()" in message_of(Registry("hidden"), "Net")


def test_a_location_that_fails_is_shown_with_its_traceback(package):
    package({"broken_room.py": BROKEN, "good_room.py": ""})
    reg = Registry("m", locations=["good_room", "broken_room", "missing_room"])
    message = message_of(reg, "Net")
    assert (
        "Locations imported: good_room, broken_room (failed to import, see below), missing_room (no such module)."
        in message
    )
    assert "broken_room failed to import:\nTraceback (most recent call last):" in message
    assert "RuntimeError: needs a newer driver" in message
    assert 'broken_room.py", line 2' in message
    with pytest.raises(RegistryError, match="needs a newer driver"):  # get cannot say None: it may be defined there
        reg.get("Net")


def test_a_failed_location_does_not_hide_what_is_registered(package):
    package({"broken_room.py": BROKEN})
    parent = Registry("m", scope="top")
    reg = Registry("m", parent=parent, scope="sub", locations=["broken_room"])
    parent.register_module(name="Net", module=int)
    assert reg.get("Net") is int


def test_a_location_whose_own_import_is_missing_counts_as_failed(package):
    package({"needy_room.py": "import package_that_is_absent\n"})
    message = message_of(Registry("m", locations=["needy_room"]), "Net")
    assert "needy_room (failed to import, see below)" in message
    assert "No module named 'package_that_is_absent'" in message


def test_a_missing_location_alone_leaves_get_answering_none():
    assert Registry("m", locations=["no_such_room.at_all"]).get("Net") is None


def test_a_scope_whose_package_fails_is_shown_with_its_traceback(tree, package):
    package({"sick/__init__.py": "", "sick/registry.py": BROKEN})
    message = message_of(tree[0], "sick.Net")
    assert "sick.registry failed to import:" in message
    assert "needs a newer driver" in message


def test_a_dotted_path_into_a_broken_module_raises_its_own_error(tree, package):
    package({"broken_mod.py": BROKEN})
    with pytest.raises(RuntimeError, match="needs a newer driver"):
        tree[0].resolve("broken_mod.Net")


def test_names_that_are_only_a_little_alike_are_not_offered(tree):
    root, child = tree
    for name in ("Adam", "AdamW", "NAdam"):
        root.register_module(name=name, module=int)
    child.register_module(name="AdamW", module=float)
    assert "Did you mean 'AdamW' or 'zoo.AdamW'?" in message_of(root, "AdmW")


def test_packages_that_register_by_a_function_are_asked_to(package):
    package(
        {
            "mmyolo/__init__.py": "",
            "mmyolo/registry.py": "from trainwright.registry import Registry\nM = Registry('model', scope='mmyolo')\n",
            "mmyolo/utils.py": "from mmyolo.registry import M\ncalls = []\ndef register_all_modules(init_scope):\n"
            "    calls.append(init_scope)\n    M.register_module(name='Net', module=int)\n",
        }
    )
    from mmyolo.registry import M
    from mmyolo.utils import calls

    assert M.get("Net") is int
    assert M.get("Other") is None
    assert calls == [False]


def test_a_package_that_fails_to_register_is_shown_with_its_traceback(package):
    package(
        {
            "mmflow/__init__.py": "",
            "mmflow/utils.py": "def register_all_modules(init_scope):\n    raise RuntimeError('no flow here')\n",
        }
    )
    message = message_of(Registry("model", scope="mmflow"), "Net")
    assert "mmflow.utils failed to import:\nTraceback" in message
    assert "RuntimeError: no flow here" in message


def test_an_unknown_scope_that_people_know_says_what_to_install(capsys):
    with Registry("only here").switch_scope_and_registry("mmseg"):
        pass
    assert "'mmseg.registry'. Is it installed? pip install mmsegmentation" in capsys.readouterr().err


THINGS = Registry("thing")

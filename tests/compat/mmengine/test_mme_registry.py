"""Registries: what is registered where, how it is found, and how it is built."""

import functools
import sys
import time

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")
CONFIGS = ["dict", "ConfigDict", "Config"]


@pytest.fixture
def new_scope():
    """Makes a default scope; those there were before, and no others, are there afterwards."""
    from mmengine.registry import DefaultScope

    before = dict(DefaultScope._instance_dict)
    yield lambda scope: DefaultScope.get_instance(f"{scope}-{time.time_ns()}", scope_name=scope)
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture
def family(new_scope):
    """The registries of a family of dogs, by scope: two branches below a root, of two and one more generations."""
    from mmengine.registry import Registry

    dogs = Registry("dogs")
    hounds = Registry("hounds", parent=dogs, scope="hound")
    little = Registry("little hounds", parent=hounds, scope="little_hound")
    middle = Registry("mid hounds", parent=hounds, scope="mid_hound")
    samoyeds = Registry("samoyeds", parent=dogs, scope="samoyed")
    little_samoyeds = Registry("little samoyeds", parent=samoyeds, scope="little_samoyed")
    found = [dogs, hounds, little, middle, samoyeds, little_samoyeds]
    names = ["Golden", "Blood", "Dachs", "Beagle", "Pedigree", "LittlePedigree"]
    return found, [
        registry.register_module(name=name)(type(name, (), {})) for registry, name in zip(found, names, strict=True)
    ]


def wrapped(kind, cfg):
    from mmengine.config import Config, ConfigDict

    return {"dict": dict, "ConfigDict": ConfigDict, "Config": Config}[kind](cfg)


def test_a_new_registry():
    from mmengine.registry import Registry, build_from_cfg

    cats = Registry("cat")
    assert (cats.name, cats.module_dict, len(cats), cats.children) == ("cat", {}, 0, {})
    assert cats.build_func is build_from_cfg
    assert cats.scope == __name__.partition(".")[0]
    assert Registry("cat", scope="pets").scope == "pets"

    def build(cfg, registry, default_args):
        """Nothing."""

    cats = Registry("cat", build_func=build)
    child = Registry("cat", parent=cats, scope="little")
    assert cats.build_func is child.build_func is build
    assert child.parent is cats
    assert cats._children.get("little") is child
    for wrong in ({"parent": "cat"}, {"scope": 1}):
        with pytest.raises(AssertionError):
            Registry("cat", **wrong)
    with pytest.raises(AssertionError, match="scope little exists in cat registry"):
        Registry("cat", parent=cats, scope="little")


def test_a_scope_is_split_off_once():
    from mmengine.registry import Registry

    assert Registry.split_scope_key("Bulldog") == (None, "Bulldog")
    assert Registry.split_scope_key("hound.Bulldog") == ("hound", "Bulldog")
    assert Registry.split_scope_key("hound.little.Bulldog") == ("hound", "little.Bulldog")


def test_register_module():
    from mmengine.registry import Registry

    cats = Registry("cat")

    @cats.register_module()
    class Shorthair:
        """One."""

    @cats.register_module(name="Curl")
    class Munchkin:
        """Two."""

    @cats.register_module(name=["Siamese", "Siamese2"])
    class Kitty:
        """Three."""

    @cats.register_module()
    def muchkin():
        """Four."""

    assert cats.get("Shorthair") is Shorthair
    assert cats.get("Munchkin") is None
    assert cats.get("Curl") is Munchkin
    assert cats.get("Siamese") is cats.get("Siamese2") is Kitty
    assert cats.get("muchkin") is muchkin
    assert len(cats) == 5
    assert "Curl" in cats
    assert "Tom" not in cats
    with pytest.raises(KeyError, match="Shorthair is already registered in cat at"):
        cats.register_module(module=Shorthair)
    with pytest.raises(KeyError, match="Curl is already registered in cat at"):
        cats.register_module(name="Curl", module=Shorthair)
    assert cats.register_module(name="Curl", module=Shorthair, force=True) is Shorthair
    assert cats.get("Curl") is Shorthair
    cats.register_module(name="method", module=Munchkin().__init__)
    with pytest.raises(TypeError, match="name must be None, an instance of str, or a sequence of str, but got"):
        cats.register_module(name=7)
    with pytest.raises(TypeError, match="name must be None, an instance of str, or a sequence of str, but got"):
        cats.register_module(0)
    with pytest.raises(TypeError, match="module must be Callable, but got"):
        cats.register_module(module=0)
    with pytest.raises(TypeError, match="force must be a boolean, but got"):
        cats.register_module(force="yes")


def test_names_are_found_here_above_and_by_scope(family):
    (dogs, hounds, little, middle, samoyeds, little_samoyeds), classes = family
    golden, blood, dachs, beagle, pedigree, little_pedigree = classes
    assert dogs.get("Golden") is little.get("Golden") is little_samoyeds.get("Golden") is golden
    assert hounds.get("Blood") is hounds.get("hound.Blood") is dogs.get("hound.Blood") is blood
    assert little.get("hound.Blood") is little.get("Blood") is samoyeds.get("hound.Blood") is blood
    assert hounds.get("little_hound.Dachs") is dogs.get("hound.little_hound.Dachs") is dachs
    assert middle.get("hound.mid_hound.Beagle") is beagle
    assert hounds.get("samoyed.Pedigree") is pedigree
    assert dogs.get("samoyed.little_samoyed.LittlePedigree") is little_pedigree
    assert little.get("Beagle") is None
    assert dogs.get("Blood") is None
    assert little.get("Unknown") is None
    with pytest.raises(TypeError):
        dogs.get(1)


def test_a_path_is_imported(family):
    from mmengine.model import BaseModule

    dogs = family[0][0]
    assert dogs.get("mmengine.model.BaseModule") is BaseModule
    assert dogs.get("functools.partial") is functools.partial


def test_the_tree(family):
    (dogs, hounds, little, middle, samoyeds, _), _ = family
    assert dogs.root is hounds.root is little.root is dogs
    assert little._get_root_registry() is dogs
    assert dogs._search_child("hound") is hounds
    assert dogs._search_child("little_hound") is little
    assert hounds._search_child("mid_hound") is middle
    assert little._search_child("hound") is None
    assert samoyeds._search_child("hound") is None
    assert dogs.children["hound"] is hounds


@pytest.mark.parametrize("kind", CONFIGS)
def test_build(family, kind, new_scope):
    (dogs, hounds, little, middle, samoyeds, _), classes = family
    golden, blood, dachs, beagle, *_ = classes
    assert isinstance(dogs.build(wrapped(kind, {"type": "Golden"})), golden)
    assert isinstance(hounds.build(wrapped(kind, {"type": "Golden"})), golden)
    assert isinstance(hounds.build(wrapped(kind, {"type": "little_hound.Dachs"})), dachs)
    middle.register_module(name="Blood", module=beagle)
    assert isinstance(little.build(wrapped(kind, {"type": "Blood"})), blood)
    new_scope("mid_hound")
    assert isinstance(little.build(wrapped(kind, {"type": "Blood"})), beagle)
    new_scope("nowhere")
    assert isinstance(middle.build(wrapped(kind, {"type": "Beagle"})), beagle)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_scope_in_a_config_holds_for_what_is_built_inside(family, kind, new_scope):
    from mmengine.registry import DefaultScope

    (dogs, _, _, _, samoyeds, _), classes = family

    @samoyeds.register_module()
    class Friendly:
        def __init__(self, friend):
            self.friend = dogs.build(friend)

    new_scope("nowhere")
    for friend, wanted in (("hound.Blood", classes[1]), ("Pedigree", classes[4])):
        dog = dogs.build(wrapped(kind, {"_scope_": "samoyed", "type": "Friendly", "friend": {"type": friend}}))
        assert isinstance(dog, Friendly)
        assert isinstance(dog.friend, wanted)
        assert DefaultScope.get_current_instance().scope_name == "nowhere"


@pytest.mark.parametrize("kind", CONFIGS)
def test_functions_are_called(family, kind):
    dogs = family[0][0]

    def called(name):
        return name

    dogs.register_module(name="by lambda", module=lambda name: name)
    dogs.register_module(name="partial", module=functools.partial(called, name="Rex"))
    assert dogs.build(wrapped(kind, {"type": "by lambda", "name": "Tim"})) == "Tim"
    assert dogs.build(wrapped(kind, {"type": "partial"})) == "Rex"
    assert dogs.build(wrapped(kind, {"type": called, "name": "Max"})) == "Max"


def test_switching_scope_and_registry(new_scope):
    from mmengine.registry import DefaultScope, Registry

    dogs = Registry("dogs")
    hounds, samoyeds, chihuahuas = (
        Registry(f"{scope}s", scope=scope, parent=dogs) for scope in ("hound", "samoyed", "chihuahua")
    )
    new_scope("chihuahua")

    def scope():
        return DefaultScope.get_current_instance().scope_name

    with dogs.switch_scope_and_registry(scope="samoyed") as outer:
        assert (outer, scope()) == (samoyeds, "samoyed")
        with samoyeds.switch_scope_and_registry(scope="hound") as inner:
            assert (inner, scope()) == (hounds, "hound")
        with hounds.switch_scope_and_registry(scope=None) as inner:
            assert (inner, scope()) == (samoyeds, "samoyed")
        with chihuahuas.switch_scope_and_registry(scope="unknown") as inner:
            assert (inner, scope()) == (chihuahuas, "unknown")
        assert scope() == "samoyed"
    assert scope() == "chihuahua"


def test_repr():
    from mmengine.registry import Registry
    from rich.console import Console
    from rich.table import Table

    cats = Registry("cat")
    for name in ("Shorthair", "Munchkin"):
        cats.register_module(name=name)(type(name, (), {}))
    shown = Table(title="Registry of cat")
    shown.add_column("Names", justify="left", style="cyan")
    shown.add_column("Objects", justify="left", style="green")
    for name in ("Munchkin", "Shorthair"):
        shown.add_row(name, str(cats.get(name)))
    console = Console()
    with console.capture() as captured:
        console.print(shown, end="")
    assert repr(cats) == captured.get()


def test_names_come_from_locations(tmp_path, monkeypatch):
    from mmengine.registry import Registry

    (tmp_path / "zoo_of_locations.py").write_text(
        "import registry_of_locations as r\n@r.ZOO.register_module()\nclass Ape: ...\n"
    )
    (tmp_path / "registry_of_locations.py").write_text(
        "from mmengine.registry import Registry\nZOO = Registry('zoo', locations=['zoo_of_locations'])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("registry_of_locations", "zoo_of_locations"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import registry_of_locations

    zoo = registry_of_locations.ZOO
    assert zoo.scope == "registry_of_locations"
    assert isinstance(zoo, Registry)
    assert len(zoo) == 0
    assert zoo.get("Ape").__name__ == "Ape"
    assert len(zoo) == 1
    zoo.import_from_location()
    for name in ("registry_of_locations", "zoo_of_locations"):
        monkeypatch.delitem(sys.modules, name)


def test_the_roots_have_the_scope_of_the_package():
    import mmengine.registry as rooms
    from mmengine.registry import HOOKS, Registry

    assert HOOKS.scope == rooms.MODELS.scope == "mmengine"
    assert HOOKS.get("mmengine.CheckpointHook") is HOOKS.get("CheckpointHook")
    child = Registry("hook", parent=HOOKS, scope="mine_of_hooks")
    try:
        assert child.get("mmengine.EMAHook") is child.get("EMAHook")
    finally:
        del HOOKS.children["mine_of_hooks"]

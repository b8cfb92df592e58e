import pytest

from trainwright import registry as registry_package
from trainwright.base.errors import RegistryError
from trainwright.registry import DefaultScope, Registry


def test_register_as_decorator_call_and_under_several_names():
    reg = Registry("thing")

    @reg.register_module()
    class A:
        pass

    @reg.register_module(name=["b", "bb"])
    def build_b():
        return "b"

    assert reg.register_module(name="c", module=dict) is dict
    assert reg.module_dict == {"A": A, "b": build_b, "bb": build_b, "c": dict}
    assert len(reg) == 4
    assert "A" in reg
    assert "B" not in reg
    assert reg.get("bb") is build_b
    assert bool(Registry("empty"))


def test_the_same_name_twice_says_where_the_first_came_from(tree):
    root, _ = tree

    @root.register_module(name="Net")
    class First:
        pass

    with pytest.raises(KeyError) as info:
        root.register_module(name="Net", module=int)
    message = str(info.value)
    assert isinstance(info.value, RegistryError)
    assert "Net is already registered in model at " in message
    assert "(scope 'trainwright')" in message
    assert "First" in message
    assert "test_registry.py:" in message
    assert "force=True" in message
    root.register_module(name="Net", module=int, force=True)
    assert root.get("Net") is int


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": 3}, "name must be None, an instance of str, or a sequence of str, but got <class 'int'>: 3"),
        ({"name": ["a", 3]}, "name must be None, an instance of str, or a sequence of str, but got <class 'list'>"),
        ({"force": "x"}, "force must be a boolean, but got <class 'str'>: 'x'"),
        ({"module": 3}, "module must be Callable, but got <class 'int'>: 3 can be no class or function"),
    ],
)
def test_wrong_use_of_register_module_is_refused(kwargs, message):
    with pytest.raises(TypeError, match=message):
        Registry("thing").register_module(**kwargs)


def test_constructor_refuses_what_is_no_registry_or_scope(tree):
    root, _ = tree
    with pytest.raises(TypeError, match="parent of registry 'x' must be a Registry, got 'model'"):
        Registry("x", parent="model")
    with pytest.raises(TypeError, match="scope of registry 'x' must be a string, got 3"):
        Registry("x", scope=3)
    with pytest.raises(RegistryError, match=r"scope zoo exists in model registry: a child made in .*conftest has it"):
        Registry("model", parent=root, scope="zoo")


def test_scope_is_the_callers_top_package(package):
    package(
        {
            "shop/__init__.py": "",
            "shop/registry.py": "from trainwright.registry import Registry\nREG = Registry('model')\n",
        }
    )
    import shop.registry

    assert shop.registry.REG.scope == "shop"
    assert Registry("model").scope == __name__.split(".")[0]


def test_names_are_found_upwards_and_by_scope(tree):
    root, child = tree
    root.register_module(name="Base", module=int)
    child.register_module(name="Own", module=str)
    assert child.get("Base") is int
    assert child.get("Own") is str
    assert child.get("zoo.Own") is str
    assert root.get("zoo.Own") is str
    assert child.get("trainwright.Base") is int
    assert root.get("mmengine.Base") is int  # the root's other name
    assert root.get("Own") is None
    assert child.get("zoo.Base") is None  # its own scope names only what is its own
    assert root.get("zoo.Base") is int  # another's names what is found from there
    assert child._get_root_registry() is root
    assert child.root is root
    assert root.root is root
    assert root._search_child("zoo") is child
    assert child.parent is root
    assert root.children == {"zoo": child}


def test_scopes_may_be_given_one_after_the_other(tree):
    root, child = tree
    grandchild = Registry("model", parent=child, scope="cage")
    grandchild.register_module(name="Lion", module=int)
    assert root.get("zoo.cage.Lion") is int
    assert root.get("cage.Lion") is int
    assert root.get("zoo.farm.Lion") is None


def test_a_dotted_path_that_begins_like_a_scope_imports_nothing_by_its_rest(tree, package):
    package({"parts/__init__.py": "", "parts/registry.py": "raise RuntimeError('not to be imported')\n"})
    assert tree[0].get("zoo.parts.Net") is None


def test_siblings_reach_each_other_by_scope(tree):
    root, child = tree
    other = Registry("model", parent=root, scope="farm")
    other.register_module(name="Cow", module=int)
    assert child.get("farm.Cow") is int
    assert child.get("Cow") is None


def test_a_name_is_a_string(tree):
    with pytest.raises(TypeError, match="must be a string, got 3 of type int"):
        tree[0].get(3)


@pytest.mark.parametrize("path", ["collections.OrderedDict", "collections:OrderedDict"])
def test_dotted_paths_need_no_registration(tree, path):
    from collections import OrderedDict

    assert tree[1].get(path) is OrderedDict


@pytest.mark.parametrize(
    "path", ["collections.Nothing", "no_such_pkg.mod.X", "collections:", "a:b:c", "json.decoder.no.such", "a..b"]
)
def test_dotted_paths_to_nothing_are_unknown_names(tree, path):
    assert tree[0].get(path) is None
    with pytest.raises(RegistryError, match="is not in the trainwright::model registry"):
        tree[0].resolve(path)


def test_split_scope_key():
    assert Registry.split_scope_key("zoo.Net") == ("zoo", "Net")
    assert Registry.split_scope_key("Net") == (None, "Net")


def test_locations_are_imported_when_a_name_is_missed_and_once(package):
    package(
        {
            "lazy_room.py": "import lazy_count\nfrom lazy_home import REG\nREG.register_module(name='X', module=int)\n",
            "lazy_count.py": "",
        }
    )
    package(
        {"lazy_home.py": "from trainwright.registry import Registry\nREG = Registry('m', locations=['lazy_room'])\n"}
    )
    import sys

    from lazy_home import REG

    REG.register_module(name="Y", module=str)
    assert REG.get("Y") is str
    assert "lazy_room" not in sys.modules
    assert REG.get("X") is int
    assert REG.get("Z") is None
    assert len(REG) == 2


def test_repr_is_a_table(tree):
    tree[0].register_module(name="Number", module=int)
    text = repr(tree[0])
    assert text.startswith("Registry of model, scope 'trainwright', 1 names\nname    object\n")
    assert "Number  builtins.int" in text


def test_switching_the_scope_gives_the_registry_of_that_scope(tree, package):
    root, child = tree
    with root.switch_scope_and_registry("zoo") as found:
        assert found is child
        assert DefaultScope.get_current_instance().scope_name == "zoo"
    with child.switch_scope_and_registry("mmengine") as found:
        assert found is root
    with root.switch_scope_and_registry(None) as found:
        assert found is root


def test_switching_imports_the_registry_module_of_the_package(package):
    package(
        {
            "depot/__init__.py": "",
            "depot/registry.py": "from trainwright.registry import *\nM = Registry('model', parent=MODELS)\n",
        }
    )
    try:
        with registry_package.MODELS.switch_scope_and_registry("depot") as found:
            assert found.scope == "depot"
    finally:
        registry_package.MODELS.children.pop("depot")


def test_switching_to_an_unknown_scope_warns_and_stays(tree, capsys):
    with tree[0].switch_scope_and_registry("nowhere") as found:
        assert found is tree[0]
    err = capsys.readouterr().err
    assert "no registry 'model' has the scope 'nowhere'" in err
    assert "'nowhere.registry'" in err


def test_there_are_23_roots_and_none_imports_torch():
    import subprocess
    import sys

    roots = {name: obj for name, obj in vars(registry_package).items() if isinstance(obj, Registry)}
    assert len(roots) == 23
    assert all(root.scope == "trainwright" and root.parent is None and root._locations for root in roots.values())
    assert len({root.name for root in roots.values()}) == 23
    code = "import sys, trainwright.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

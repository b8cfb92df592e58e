import importlib
import sys
import textwrap
import types
from importlib.util import find_spec

import pytest
from python_runs import python, without_mmcv, write_package

from trainwright.base.errors import ConfigError
from trainwright.compat.faces import FACES, Face, FaceSpec, face

# MMCV 1.x in small: what its packages import of each other, and a module that ours has not.
MMCV_1 = {
    "mmcv/__init__.py": """
        from .utils import *
        __version__ = "1.7.9"
        real_only = "of the real one"
    """,
    "mmcv/utils/__init__.py": """
        from .registry import Registry
        from .path import is_str
        __all__ = ["Registry", "is_str"]
    """,
    "mmcv/utils/registry.py": "class Registry:\n    def __init__(self, name): pass",
    "mmcv/utils/path.py": "def is_str(x): return 'real'",
    "mmcv/utils/own_loader.py": "from .misc import is_seq_of\ndef load_ext(): return is_seq_of",
    "mmcv/runner/__init__.py": "from .dist_utils import get_dist_info",
    "mmcv/runner/dist_utils.py": "def get_dist_info(): return 'real'",
    "mmcv/ops/__init__.py": """
        from ..utils import own_loader
        from mmcv.utils import Registry
        OPS = Registry("op")
        loaded = own_loader.load_ext()
    """,
}


@pytest.mark.parametrize("package", [spec.package for spec in FACES.values()])
def test_no_folder_of_tests_passes_for_a_package(package):
    """A folder on the path that holds one named as the package would make an empty package of that name."""
    found = find_spec(package)
    assert found is None or found.loader is not None, list(found.submodule_search_locations or ())


@without_mmcv
def test_alone_the_package_is_ours_and_one_object_under_both_names():
    python(
        code="""
        import importlib, importlib.util, sys
        import trainwright.compat.mmcv1 as ours
        assert importlib.util.find_spec("mmcv") is None
        ours.install()
        assert importlib.util.find_spec("mmcv.utils.config").name == "mmcv.utils.config"
        import mmcv
        assert mmcv is ours and mmcv.__version__ == "1.7.2" and mmcv.version_info == (1, 7, 2)
        import mmcv.utils.config as by_face
        import trainwright.compat.mmcv1.utils.config as by_home
        assert by_face is by_home and sys.modules["mmcv.utils.config"] is by_home
        assert by_home.__spec__.name == by_home.__name__ == "trainwright.compat.mmcv1.utils.config"
        from mmcv import Config, ConfigDict, DictAction, is_str, mkdir_or_exist, ProgressBar, Timer
        from mmcv.utils import config
        assert config is by_home and Config is by_home.Config and mmcv.utils.Config is Config
        assert importlib.reload(by_face) is by_home and importlib.import_module("mmcv.utils.config") is by_home
        assert importlib.util.find_spec("mmcv.runner") is not None
        assert importlib.util.find_spec("mmcv.ops") is None
        assert "torch" not in sys.modules, "names and paths need no torch"
        """
    )


@without_mmcv
def test_what_the_face_has_not_is_an_error_that_says_what_it_has():
    python(
        code="""
        import trainwright.compat.mmcv1 as face
        face.install()
        import mmcv
        def message(code):
            try:
                exec(code)
            except (ImportError, AttributeError) as error:
                return f"{type(error).__name__}: {error}"
            raise AssertionError("no error")
        text = message("import mmcv.ops.nms")
        assert text.startswith("ModuleNotFoundError: No module named 'mmcv.ops'"), text
        assert "mmcv is not installed" in text and "engine, " in text and "runner, utils" in text, text
        assert "Did you mean 'runner'?" in message("import mmcv.runer")
        assert "Did you mean 'config'?" in message("import mmcv.utils.confg")
        text = message("mmcv.Confg")
        assert text.startswith("AttributeError: module 'trainwright.compat.mmcv1' has no attribute 'Confg'"), text
        assert "Did you mean 'Config'" in text and "the modules cnn, engine, fileio" in text, text
        assert "ImportError: cannot import name 'imread'" in message("from mmcv import imread")
        """
    )


@without_mmcv
def test_uninstall_takes_all_of_it_away():
    python(
        code="""
        import sys
        import trainwright.compat.mmcv1 as face
        paths = list(sys.meta_path)
        face.uninstall()
        face.install()
        face.install()
        assert len(sys.meta_path) == len(paths) + 1
        import mmcv.utils.misc, mmcv.fileio
        face.uninstall()
        face.uninstall()
        assert sys.meta_path == paths
        assert not [name for name in sys.modules if name.partition(".")[0] == "mmcv"]
        try:
            import mmcv
        except ModuleNotFoundError as error:
            assert str(error) == "No module named 'mmcv'"
        else:
            raise AssertionError("mmcv is still there")
        face.install()
        import mmcv
        assert mmcv is face
        """
    )


@without_mmcv
def test_names_that_tests_patch_are_those_that_our_code_uses():
    python(
        code="""
        from unittest import mock
        import trainwright.compat.mmcv1 as face
        face.install()
        import mmcv.runner
        from mmcv.runner.hooks import HOOKS, Hook
        from trainwright.compat.mmcv1.runner.hooks.hook import Hook as ours
        assert mmcv.runner.Hook is Hook is ours and HOOKS.get("OptimizerHook") is mmcv.runner.OptimizerHook
        import mmcv.parallel.collate
        from mmcv.parallel import collate
        assert callable(collate), "the function, as in mmcv, and not the module of its name"
        calls = []
        with mock.patch("mmcv.runner.dist_utils.get_dist_info", lambda: (1, 2)):
            mmcv.runner.master_only(calls.append)("of rank 1")
        mmcv.runner.master_only(calls.append)("of rank 0")
        assert calls == ["of rank 0"]
        with mock.patch("mmcv.utils.version_utils._minimal_ext_cmd", return_value=b"abcdef"):
            assert mmcv.utils.get_git_hash(digits=3) == "abc"
        import mmcv.runner as module
        missing = [name for name in module.__all__ if not hasattr(module, name)]
        missing += [name for name in face.__all__ if not hasattr(face, name)]
        assert not missing, missing
        """
    )


MMCV_2 = {
    "mmcv/__init__.py": '__version__ = "2.1.0"\nfrom .image import *',
    "mmcv/image/__init__.py": "__all__ = ['imread']\ndef imread(): return 'image'",
    "mmcv/utils/__init__.py": "",
    "mmcv/utils/env.py": "",
}


def test_inside_an_installed_package_the_rest_stays(tmp_path):
    python(
        write_package(tmp_path / "two", MMCV_2),
        code="""
        import importlib.util, sys
        import trainwright.compat.mmcv1 as face
        face.install()
        import mmcv
        assert mmcv.__version__ == "1.7.9" and mmcv.real_only == "of the real one"
        assert mmcv.is_str("") is True and mmcv.Registry is face.utils.Registry and mmcv.Config is face.Config
        assert mmcv.utils is face.utils
        import mmcv.ops
        assert mmcv.ops.OPS.scope == "mmcv" and mmcv.ops.loaded is face.utils.is_seq_of
        assert isinstance(mmcv.ops.OPS, face.utils.Registry)
        import mmcv.utils.own_loader
        assert mmcv.utils.own_loader is mmcv.ops.own_loader and mmcv.ops.own_loader.__name__ == "mmcv.utils.own_loader"
        assert importlib.util.find_spec("mmcv.image") is None
        try:
            import mmcv.image
        except ModuleNotFoundError as error:
            assert str(error) == "No module named 'mmcv.image'"
        face.uninstall()
        assert not [name for name in sys.modules if name.partition(".")[0] == "mmcv"]
        assert "own_loader" not in vars(face.utils) and "trainwright.compat.mmcv1.utils.own_loader" not in sys.modules
        import mmcv
        assert mmcv.is_str("") == "real" and not hasattr(mmcv, "Config") and mmcv.Registry is not face.utils.Registry

        # MMCV 2.x has no runners, and another version.
        for name in [name for name in sys.modules if name.partition(".")[0] == "mmcv"]:
            del sys.modules[name]
        sys.path.insert(0, sys.argv[1])
        face.install()
        import mmcv.runner, mmcv.parallel, mmcv.image
        assert mmcv.imread() == "image" and mmcv.__version__ == "2.1.0"
        assert mmcv.runner is face.runner and mmcv.Config is face.Config and mmcv.load is face.fileio.load
        face.uninstall()
        import mmcv
        assert not hasattr(mmcv, "Config") and not hasattr(mmcv, "runner")
        """,
        PYTHONPATH=write_package(tmp_path / "one", MMCV_1),
    )


def test_a_package_that_was_imported_before_gets_our_modules_and_its_own_back(tmp_path):
    python(
        code="""
        import sys
        import mmcv, mmcv.ops, mmcv.runner, mmcv.utils.own_loader
        modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "mmcv"}
        names = {name: dict(vars(module)) for name, module in modules.items()}
        import trainwright.compat.mmcv1 as face
        face.install()
        assert sys.modules["mmcv"] is mmcv is modules["mmcv"] and mmcv.ops is modules["mmcv.ops"]
        assert mmcv.runner is face.runner and mmcv.runner.get_dist_info() == (0, 1)
        assert mmcv.Registry is face.utils.Registry and mmcv.is_str("") is True and mmcv.Config is face.Config
        from mmcv.runner.dist_utils import get_dist_info
        assert get_dist_info is face.runner.dist_utils.get_dist_info
        from mmcv.utils import own_loader
        assert own_loader is modules["mmcv.utils.own_loader"]
        import mmcv.parallel, mmcv.utils.misc
        assert mmcv.parallel is face.parallel
        face.uninstall()
        assert {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "mmcv"} == modules
        for name, module in modules.items():
            now = dict(vars(module))
            assert now.keys() == names[name].keys(), (name, now.keys() ^ names[name].keys())
            assert all(now[key] is value for key, value in names[name].items()), name
        assert "own_loader" not in vars(face.utils)
        """,
        PYTHONPATH=write_package(tmp_path, MMCV_1 | {"mmcv/utils/misc.py": "def is_seq_of(): pass"}),
    )


def test_what_is_no_package_is_put_aside_and_comes_back(tmp_path):
    (tmp_path / "detectron2" / "utils").mkdir(parents=True)  # a mere folder of that name
    python(
        folder=tmp_path,
        code="""
        import sys, types
        import trainwright.compat.detectron2 as face
        face.install()
        import detectron2.utils.events
        assert detectron2 is face
        face.uninstall()
        import detectron2
        folder = detectron2
        assert folder.__file__ is None
        face.install()
        import detectron2.utils
        assert detectron2 is face
        face.uninstall()
        assert sys.modules["detectron2"] is folder
        stub = sys.modules["detectron2"] = types.ModuleType("detectron2")
        face.install()
        import detectron2.utils
        assert detectron2 is face
        face.uninstall()
        assert sys.modules["detectron2"] is stub and "detectron2.utils" not in sys.modules
        """,
    )


def test_detectron2_alone_and_inside(tmp_path):
    real = {
        "detectron2/__init__.py": "",
        "detectron2/engine/__init__.py": """
            from .train_loop import *
            from .launch import launch
        """,
        "detectron2/engine/train_loop.py": "__all__ = ['HookBase']\nclass HookBase: pass",
        "detectron2/engine/launch.py": "def launch(): return 'real'",
        "detectron2/utils/__init__.py": "",
        "detectron2/utils/events.py": "def get_event_storage(): return 'real'",
        "detectron2/utils/comm.py": "def get_rank(): return 'real'",
    }
    code = """
        import sys
        import trainwright.compat.detectron2 as face
        alone, before = "ALONE", "BEFORE"
        if not alone and sys.argv[1] not in sys.path:
            sys.path.insert(0, sys.argv[1])
        if before:
            import detectron2.engine, detectron2.utils.events
            old = detectron2.engine.HookBase
        face.install()
        from detectron2.engine import HookBase
        from detectron2.engine.train_loop import SimpleTrainer
        from detectron2.utils.events import EventStorage
        from detectron2.utils import comm
        import detectron2.engine.hooks, detectron2.utils.events, detectron2.engine.train_loop
        from trainwright.trainer import HookBase as ours
        assert HookBase is ours and SimpleTrainer.__module__.startswith("trainwright.trainer")
        assert detectron2.engine.train_loop.__name__ == "trainwright.compat.detectron2.engine.train_loop"
        if alone:
            assert detectron2 is face and comm.get_rank() == 0
        else:
            assert comm.get_rank() == "real" and detectron2.engine.launch() == "real"
            assert detectron2.__name__ == "detectron2"
        face.uninstall()
        if before:
            assert detectron2.engine.HookBase is old
            assert sys.modules["detectron2.utils.events"].get_event_storage() == "real"
        else:
            assert not [name for name in sys.modules if name.partition(".")[0] == "detectron2"]
    """
    # One after the other: each leaves nothing of itself.
    states = (("yes", ""), ("", ""), ("", "yes"))
    text = "".join(textwrap.dedent(code).replace("ALONE", one).replace("BEFORE", two) for one, two in states)
    python(write_package(tmp_path, real), code=text)


def test_a_face_that_fails_while_it_is_put_on_leaves_nothing(monkeypatch):
    package = types.ModuleType("facade")
    package.__path__, package.__file__ = [], "facade/__init__.py"
    module = types.ModuleType("facade.there")
    monkeypatch.setitem(sys.modules, "facade", package)
    monkeypatch.setitem(sys.modules, "facade.there", module)
    spec = FaceSpec("facade", "trainwright.compat", ("facade.faces",), {"facade": (".no_such_module",)})
    paths = list(sys.meta_path)
    one = Face(spec)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        one.install()
    assert not one.is_installed
    assert sys.meta_path == paths
    assert sys.modules["facade"] is package
    assert sys.modules["facade.there"] is module


def test_an_unknown_face():
    with pytest.raises(
        ConfigError, match=r"no face 'mmcv2'; there are mmcv1, detectron2, mmengine\. Did you mean 'mmcv1'\?"
    ):
        face("mmcv2")
    assert face("mmcv1").spec is FACES["mmcv1"]


def test_lazy_exports_import_a_module_when_a_name_is_asked_for(tmp_path, monkeypatch):
    write_package(
        tmp_path,
        {
            "lazypack/__init__.py": """
                from trainwright.compat.exports import lazy_exports
                __getattr__, __dir__, __all__ = lazy_exports(__name__, {".one": "a b", ".two": ["c"]}, ["two"])
            """,
            "lazypack/one.py": "a, b = 1, 2",
            "lazypack/two.py": "c = 3",
        },
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    package = importlib.import_module("lazypack")
    assert package.__all__ == ["a", "b", "c"]
    assert "lazypack.one" not in sys.modules
    assert package.a == 1
    assert "a" in vars(package)
    assert package.two.c == 3
    assert {"a", "b", "c", "two"} <= set(dir(package))
    with pytest.raises(AttributeError, match="'lazypack' has no attribute 'bb'"):
        _ = package.bb
    assert not hasattr(package, "__wrapped__")
    for name in ("lazypack", "lazypack.one", "lazypack.two"):
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.mmcv1
@pytest.mark.parametrize("when", ["before", "after"])
def test_inside_the_real_mmcv(when):
    if find_spec("mmcv") is None:
        pytest.skip("mmcv is not installed")
    python(
        when,
        code="""
        import sys, types, warnings
        warnings.simplefilter("ignore")
        import trainwright.compat.mmcv1 as face

        def of_mmcv():
            return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "mmcv"}

        if sys.argv[1] == "before":
            vision = sys.modules["torchvision"] = types.ModuleType("torchvision")  # which MMCV's own runners import
            vision.__version__ = "0.12.0"
            import mmcv, mmcv.cnn, mmcv.runner
        modules = of_mmcv()
        names = {name: dict(vars(module)) for name, module in modules.items()}
        face.install()
        import mmcv, mmcv.cnn, mmcv.runner, mmcv.parallel, mmcv.image, mmcv.device.ipu
        assert mmcv.__version__ == "1.7.2" and mmcv.imread.__module__ == "mmcv.image.io"
        assert mmcv.Config is face.Config and mmcv.load is face.fileio.load and mmcv.runner is face.runner
        from mmcv.cnn import ConvModule
        import torch
        assert ConvModule.__module__ == "mmcv.cnn.bricks.conv_module"
        model = mmcv.runner.Sequential(ConvModule(3, 4, 3), init_cfg=dict(type="Constant", layer="Conv2d", val=7.0))
        model.init_weights()
        assert model(torch.ones(1, 3, 4, 4)).shape == (1, 4, 2, 2)
        face.uninstall()
        assert of_mmcv() == modules
        for name, module in modules.items():
            now = dict(vars(module))
            assert now.keys() == names[name].keys(), (name, now.keys() ^ names[name].keys())
            assert all(now[key] is value for key, value in names[name].items()), name
        """,
    )

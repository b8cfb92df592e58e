"""Import faces: `import mmcv.runner` gives our module of that place, as one object under both names.

A face has a finder on the meta path. Where the package is installed, what the face names comes from ours, and the rest
of the package stays where it is; where it is not, the package is ours as a whole.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean

_ABSENT: Any = object()


@dataclass(frozen=True)
class FaceSpec:
    """What a face shows.

    `package` is the name that is imported, `home` ours. Inside an installed package the modules of `inside`, and what
    is below them, are ours; `exported` says which names a package has from which of our modules, beside its own. With
    `inside` empty the package is ours as a whole, whether it is installed or not.

    `table` names a module of ours whose `MODULES` says which modules of the package, called by their place in it, are
    modules of ours elsewhere; the others are those of the same place in `home`. `defaults` are those of the process
    (`base/defaults.py`) that hold while the face is installed.
    """

    package: str
    home: str
    inside: tuple[str, ...] = ()
    exported: dict[str, tuple[str, ...]] = field(default_factory=dict)
    table: str | None = None
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        return not self.inside

    @cached_property
    def elsewhere(self) -> Mapping[str, str]:
        """The table."""
        return {} if self.table is None else importlib.import_module(self.table).MODULES


FACES = {
    "mmcv1": FaceSpec(
        "mmcv",
        "trainwright.compat.mmcv1",
        ("mmcv.runner", "mmcv.utils", "mmcv.parallel", "mmcv.engine", "mmcv.fileio", "mmcv.cnn.utils.weight_init"),
        {"mmcv": (".utils", ".fileio")},
        table="trainwright.compat.mmcv1.modules",
    ),
    "detectron2": FaceSpec(
        "detectron2",
        "trainwright.compat.detectron2",
        ("detectron2.engine.train_loop", "detectron2.engine.hooks", "detectron2.utils.events"),
        {"detectron2.engine": (".engine.train_loop", ".engine.hooks")},
    ),
    "mmengine": FaceSpec(
        "mmengine",
        "trainwright.compat.mmengine",
        table="trainwright.compat.mmengine.modules",
        defaults={
            "package": "mmengine",
            "keyed": False,
            "trusts_pickles": True,
            "refuses_points": False,
            "trusts_annotations": False,
            "saved_schedules": True,
            "checks_step_order": True,
            "logs_host_memory": False,
            "refuses_idle_params": False,
            "refuses_other_weights": False,
        },
    ),
}


class Face:
    """One face and what it has changed."""

    def __init__(self, spec: FaceSpec) -> None:
        self.spec = spec
        self._finder: _Finder | None = None
        self._modules: dict[str, ModuleType] = {}  # those of the package that were there before
        self._attributes: list[tuple[ModuleType, str, Any]] = []  # what the face has set, and what was there
        self._defaults: dict[str, Any] = {}  # those that held before

    @property
    def is_installed(self) -> bool:
        return self._finder is not None

    def install(self) -> None:
        """Put the face on. What is imported of the package stays; what the face names is ours from here on."""
        if self._finder is not None:
            return
        self._modules = dict(self._loaded(self.spec.package))
        real = sys.modules.get(self.spec.package)
        is_package = hasattr(real, "__path__") and getattr(real, "__file__", None)
        if real is not None and (self.spec.is_whole or not is_package):
            # Put away. If it is no package: a stand-in, in which nothing could be imported, or a mere folder.
            for name in self._modules:
                del sys.modules[name]
            real = None
        found = _found_without(self.spec.package, None)
        is_there = real is not None or (found is not None and found.loader is not None)
        is_there = is_there and not self.spec.is_whole
        self._finder = _Finder(self.spec, is_there, self._complete)
        sys.meta_path.insert(0, self._finder)
        for name, value in self.spec.defaults.items():
            self._defaults[name] = getattr(defaults, name)
            setattr(defaults, name, value)
        try:
            self._take_over()
        except BaseException:
            self.uninstall()
            raise

    def uninstall(self) -> None:
        """Take the face off: modules, their attributes and the meta path are as they were before."""
        if self._finder is None:
            return
        sys.meta_path.remove(self._finder)
        self._finder = None
        for name, value in self._defaults.items():
            setattr(defaults, name, value)
        for module, name, before in reversed(self._attributes):
            if before is not _ABSENT:
                setattr(module, name, before)
            elif name in vars(module):
                delattr(module, name)
        for name, module in self._loaded(self.spec.package):
            if self._modules.get(name) is not module:
                self._forget(name, module)
        for name, module in self._loaded(self.spec.home):
            if module.__name__ != name:  # of the installed package, imported from one of ours
                del sys.modules[name]
        sys.modules.update(self._modules)
        self._modules, self._attributes, self._defaults = {}, [], {}

    def _loaded(self, package: str) -> list[tuple[str, ModuleType]]:
        return [(name, module) for name, module in sys.modules.items() if f"{name}.".startswith(f"{package}.")]

    def _take_over(self) -> None:
        """Of a package that was imported before: its modules that are ours now, and the names that it exports."""
        assert self._finder is not None
        if not self._finder.is_there:
            return
        for name, module in self._modules.items():
            parent, _, last = name.rpartition(".")
            if not self._finder.is_ours(name):
                if parent and self._finder.is_ours(parent):
                    self._set(importlib.import_module(self._finder.home_of(parent)), last, module)
                continue
            ours = importlib.import_module(self._finder.home_of(name))
            if not self._finder.is_ours(parent):
                self._set(self._modules[parent], last, ours)
            sys.modules[name] = ours
        for package in self.spec.exported:
            if package in self._modules:
                self._complete(self._modules[package])

    def _complete(self, package: ModuleType) -> None:
        """Give an installed package the names that it exports of ours, and has not."""
        for relative in self.spec.exported.get(package.__name__, ()):
            ours = importlib.import_module(relative, self.spec.home)
            for name in ours.__all__:
                if vars(package).get(name, _ABSENT) is not getattr(ours, name):
                    self._set(package, name, getattr(ours, name))

    def _set(self, module: ModuleType, name: str, value: Any) -> None:
        self._attributes.append((module, name, vars(module).get(name, _ABSENT)))
        setattr(module, name, value)

    def _forget(self, name: str, module: ModuleType) -> None:
        """Take out a module that was imported through the face, and its name in the package around it."""
        del sys.modules[name]
        parent, _, last = name.rpartition(".")
        if module.__name__ != name:  # ours, whose own package has it by that name too
            holders = [self._modules.get(parent)]
        else:
            holders = [self._modules.get(parent), sys.modules.get(self.spec.home + parent[len(self.spec.package) :])]
        for holder in holders:
            if holder is not None and vars(holder).get(last) is module:
                delattr(holder, last)


class _Finder(MetaPathFinder):
    """Finds the modules of a face. `is_there`: the package is installed."""

    def __init__(self, spec: FaceSpec, is_there: bool, complete: Callable[[ModuleType], None]) -> None:
        self.spec = spec
        self.is_there = is_there
        self._complete = complete
        self._ours: dict[str, bool] = {}

    def home_of(self, name: str) -> str:
        elsewhere = self.spec.elsewhere.get(name[len(self.spec.package) + 1 :])
        return elsewhere or self.spec.home + name[len(self.spec.package) :]

    def is_ours(self, name: str) -> bool:
        """Whether the module of that name is one of ours."""
        if name not in self._ours:
            self._ours[name] = self._is_shown(name) and _own_spec(self.home_of(name)) is not None
        return self._ours[name]

    def _is_shown(self, name: str) -> bool:
        if self.is_there:
            return any(f"{name}.".startswith(f"{part}.") for part in self.spec.inside)
        parent = name.rpartition(".")[0]
        return not parent or self.is_ours(parent)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.startswith(f"{self.spec.home}."):
            return self._asked_of_ours(fullname)
        if fullname.partition(".")[0] != self.spec.package:
            return None
        if self.is_ours(fullname):
            own = _own_spec(self.home_of(fullname))
            assert own is not None
            return _alias(fullname, own)
        parent = fullname.rpartition(".")[0]
        if self.is_there:
            return self._rest_of_package(fullname, parent, path)
        # Who asks by importlib.util.find_spec wants None of what is not there; who imports it wants to know why.
        if sys._getframe(1).f_code.co_name == "_find_spec" and "_load" in sys._getframe(2).f_code.co_name:
            raise ModuleNotFoundError(self._absent(fullname, parent), name=fullname)
        return None

    def _asked_of_ours(self, fullname: str) -> ModuleSpec | None:
        """`from mmcv.utils import ext_loader` asks for it below the name that the package has itself, which is ours."""
        if not self.is_there or _own_spec(fullname) is not None:
            return None
        name = self.spec.package + fullname[len(self.spec.home) :]
        found = self._rest_of_package(name, name.rpartition(".")[0], None)
        return None if found is None else _alias(fullname, found)

    def _rest_of_package(self, fullname: str, parent: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """What the installed package has, and ours has not: found in its own folder."""
        if parent and self.is_ours(parent):
            folders = self._folders(parent)
            found = PathFinder.find_spec(fullname, folders) if folders else None
        else:
            found = _found_without(fullname, path)
        if found is not None and found.loader is not None and fullname in self.spec.exported:
            run = found.loader.exec_module
            found.loader.exec_module = partial(_run_and, run, self._complete)  # type: ignore[method-assign]
        return found

    def _folders(self, package: str) -> list[str]:
        """Where the installed package keeps the modules of one of its packages."""
        top, *rest = package.split(".")
        real = sys.modules.get(top)
        spec = _found_without(top, None) if real is None else None
        paths = getattr(real, "__path__", None) or (spec and spec.submodule_search_locations) or []
        return [os.path.join(folder, *rest) for folder in paths]

    def _absent(self, fullname: str, parent: str) -> str:
        package = importlib.import_module(self.home_of(parent))
        has = sorted(_submodules(package) | self._elsewhere_in(parent))
        near = did_you_mean(fullname.rpartition(".")[2], has)
        listed = ", ".join(has) or "no modules"
        if self.spec.is_whole:
            face = f"Trainwright's face of {self.spec.package}"
            return f"No module named {fullname!r}: {face} has in {parent} {listed}.{near}"
        return (
            f"No module named {fullname!r}: {self.spec.package} is not installed, and Trainwright's face of it has in "
            f"{parent} only {listed}.{near} Install {self.spec.package} for the rest; the face works inside it"
        )

    def _elsewhere_in(self, parent: str) -> set[str]:
        """The modules of a package that the table has."""
        inside = f"{parent}."[len(self.spec.package) + 1 :]
        below = [place[len(inside) :] for place in self.spec.elsewhere if place.startswith(inside)]
        return {name for name in below if "." not in name}


class _AliasLoader(Loader):
    """Gives the module that is there under its own name."""

    def __init__(self, name: str, home: str) -> None:
        self.name = name
        self.home = home

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.home)
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own_spec  # importing has put that of the alias there
        if not hasattr(module, "__path__"):
            return
        # What is there already keeps its place: an import of `mmcv.parallel.collate` would put the module where the
        # package has the function of that name.
        for name, part in list(sys.modules.items()):
            if name.startswith(f"{self.home}.") and part.__name__ == name:
                sys.modules.setdefault(self.name + name[len(self.home) :], part)


def _alias(name: str, own: ModuleSpec) -> ModuleSpec:
    spec = ModuleSpec(name, _AliasLoader(name, own.name), origin=own.origin)
    spec.submodule_search_locations = own.submodule_search_locations
    return spec


def _own_spec(home: str) -> ModuleSpec | None:
    """Of one of our modules, without importing it; None if there is none of that name."""
    parent = home.rpartition(".")[0]
    try:
        path = importlib.import_module(parent).__path__
    except (ModuleNotFoundError, AttributeError):  # the module around it is none of ours, or no package
        return None
    return _found_without(home, path)


def _run_and(run: Callable[[ModuleType], None], then: Callable[[ModuleType], None], module: ModuleType) -> None:
    run(module)
    then(module)


def _found_without(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """What the other finders find."""
    for finder in sys.meta_path:
        if not isinstance(finder, _Finder) and hasattr(finder, "find_spec"):
            found = finder.find_spec(name, path)
            if found is not None:
                return found
    return None


def _submodules(package: ModuleType) -> set[str]:
    import pkgutil

    return {name for _, name, _ in pkgutil.iter_modules(getattr(package, "__path__", []))}


_faces = {name: Face(spec) for name, spec in FACES.items()}


def face(name: str) -> Face:
    """The face of that name; ConfigError for a name that there is not."""
    if name not in _faces:
        raise ConfigError(f"there is no face {name!r}; there are {', '.join(_faces)}.{did_you_mean(name, _faces)}")
    return _faces[name]

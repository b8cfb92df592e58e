"""Installed packages: whether they are there, where they lie, and installing them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib import metadata
from importlib.machinery import ModuleSpec
from importlib.util import find_spec

from trainwright.base.errors import MissingExtraError, TrainwrightError


class NamespacePackageError(TrainwrightError, RuntimeError):
    """A package without a folder of its own, where one is asked for."""


class ModuleOfPackageError(TrainwrightError, ValueError):
    """An installed package of which nothing says what is imported."""


def is_installed(package: str) -> bool:
    """Whether a package of that name is installed, or one can be imported by it that is no namespace package."""
    importlib.invalidate_caches()  # it may have been installed since
    if _distribution(package) is not None:
        return True
    spec = _spec_of(package)
    return spec is not None and spec.origin is not None


def get_installed_path(package: str) -> str:
    """The folder that is imported: `.../site-packages/mmcv` of the package mmcv-full."""
    importlib.invalidate_caches()
    found = _distribution(package)
    if found is not None:
        location = str(found.locate_file(""))
        if os.path.exists(direct := os.path.join(location, package)):
            return direct
        module = package2module(package)
        path = os.path.join(location, module)
        spec = None if os.path.exists(path) else _spec_of(module)  # one that is installed as a link to its source
        return path if spec is None or spec.origin is None else os.path.dirname(spec.origin)
    spec = _spec_of(package)
    if spec is None:
        raise MissingExtraError(
            f"{package!r} is not installed, and no package of that name is on the path. Install it with: "
            f"pip install {package}"
        )
    if spec.origin is None:
        raise NamespacePackageError(
            f"{package!r} is a namespace package, which is invalid here: its parts may lie in several folders. Name a "
            "package that has an __init__.py"
        )
    return os.path.dirname(spec.origin)


def package2module(package: str) -> str:
    """The name by which an installed package is imported."""
    found = _distribution(package)
    if found is None:
        raise MissingExtraError(f"{package!r} is not installed. Install it with: pip install {package}")
    names = (found.read_text("top_level.txt") or "").split()
    if not names:
        tops = (file.parts[0] for file in found.files or () if len(file.parts) == 2 and file.name == "__init__.py")
        names = list(dict.fromkeys(tops))
    if not names:
        raise ModuleOfPackageError(
            f"can not infer the module name of {package}: neither its top_level.txt nor its list of files has one"
        )
    return names[0]


def call_command(cmd: list[str]) -> None:
    """Run the program; CalledProcessError if it fails."""
    subprocess.check_call(cmd)


def install_package(package: str) -> None:
    """Install it by pip, unless it is there."""
    if not is_installed(package):
        call_command([sys.executable, "-m", "pip", "install", package])


def _distribution(package: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(package)
    except (metadata.PackageNotFoundError, ValueError):  # ValueError: an empty name
        return None


def _spec_of(package: str) -> ModuleSpec | None:
    try:
        return find_spec(package)
    except (ModuleNotFoundError, ValueError):  # the package around it is not there; `__main__` has no spec
        return None

import os
import sys
from importlib import metadata

import pytest

from trainwright.base.errors import MissingExtraError
from trainwright.utils import call_command, get_installed_path, install_package, is_installed
from trainwright.utils.package_utils import ModuleOfPackageError, NamespacePackageError, package2module


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages, on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def put_package(site, name, files=(), **metadata_files):
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for file, text in metadata_files.items():
        (info / file).write_text(text)
    for path in files:
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).touch()


def test_the_folder_of_a_package_of_another_name(site):
    put_package(site, "other-name-a", ["inner_a/__init__.py"], **{"top_level.txt": "inner_a\n_private\n"})
    put_package(
        site, "other-name-b", ["inner_b/__init__.py"], RECORD="inner_b/__init__.py,,\ninner_b/more/__init__.py,,\n"
    )
    for letter in "ab":
        assert is_installed(f"other-name-{letter}")
        assert package2module(f"other-name-{letter}") == f"inner_{letter}"
        assert get_installed_path(f"other-name-{letter}") == str(site / f"inner_{letter}")


def test_a_package_that_is_a_link_to_its_source(site, tmp_path_factory, monkeypatch):
    source = tmp_path_factory.mktemp("source")
    put_package(source, "unused", ["linked_module/__init__.py"])
    monkeypatch.syspath_prepend(source)
    put_package(site, "linked-name", **{"top_level.txt": "linked_module\n"})
    assert get_installed_path("linked-name") == str(source / "linked_module")


def test_packages_without_a_folder(site):
    put_package(site, "nameless", RECORD="just_a_module.py,,\n")
    with pytest.raises(ModuleOfPackageError, match="can not infer the module name of nameless"):
        get_installed_path("nameless")
    (site / "spread_out").mkdir()
    assert not is_installed("spread_out")
    with pytest.raises(NamespacePackageError, match="'spread_out' is a namespace package, which is invalid here"):
        get_installed_path("spread_out")


@pytest.mark.parametrize("name", ["no-such-package", "no_such.package", ""])
def test_packages_that_are_not_there(name):
    assert not is_installed(name)
    with pytest.raises(MissingExtraError, match=f"{name!r} is not installed"):
        get_installed_path(name)
    with pytest.raises(MissingExtraError, match="pip install"):
        package2module(name)


def test_a_package_that_has_come_meanwhile(site):
    assert not is_installed("late-package")
    put_package(site, "late-package")
    assert is_installed("late-package")


def test_installing(monkeypatch):
    called = []
    monkeypatch.setattr("trainwright.utils.package_utils.call_command", called.append)
    install_package("torch")
    install_package("no-such-package")
    assert called == [[sys.executable, "-m", "pip", "install", "no-such-package"]]
    monkeypatch.undo()
    call_command([sys.executable, "-c", "pass"])
    assert metadata.version("torch")
    assert os.path.isdir(get_installed_path("torch"))

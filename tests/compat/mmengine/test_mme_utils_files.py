"""mmengine.utils.path, package_utils and version_utils."""

import os
import sys
from pathlib import Path
from unittest import mock

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")
PARSED = {
    "0.2.16": (0, 2, 16, 0, 0, 0),
    "1.2.3": (1, 2, 3, 0, 0, 0),
    "1.2.3rc0": (1, 2, 3, 0, -1, 0),
    "1.2.3rc1": (1, 2, 3, 0, -1, 1),
    "1.0rc0": (1, 0, 0, 0, -1, 0),
    "1.2.3.dev4": (1, 2, 3, 0, -4, 0),
    "1.2.3a2.dev4": (1, 2, 3, 0, -3, 2),
    "1.2.3.post2": (1, 2, 3, 0, 1, 2),
    "2.13.0a0+gitabc": (2, 13, 0, 0, -3, 0),
    "v1": (1, 0, 0, 0, 0, 0),
    "v1.1.5": (1, 1, 5, 0, 0, 0),
    "1.2.3.4.5": (1, 2, 3, 4, 0, 0),
}


def test_kinds_of_paths(tmp_path):
    import mmengine

    assert mmengine.is_filepath(__file__)
    assert mmengine.is_filepath("abc")
    assert mmengine.is_filepath(Path("/etc"))
    assert not mmengine.is_filepath(0)
    for path, expected in (("/a", True), ("http://a", True), ("https://a", True), ("s3://a", True), ("a/b", False)):
        assert mmengine.is_abs(path) is expected
    with mmengine.fopen(__file__) as file:
        assert hasattr(file, "read")
    with mmengine.fopen(Path(__file__)) as file:
        assert hasattr(file, "read")
    with pytest.raises(ValueError, match="filepath"):
        mmengine.fopen(1)
    mmengine.check_file_exist(__file__)
    with pytest.raises(FileNotFoundError, match='file "no_such_file.txt" does not exist'):
        mmengine.check_file_exist("no_such_file.txt")
    with pytest.raises(FileNotFoundError, match="where is no_such"):
        mmengine.check_file_exist("no_such", "where is {}")


def test_folders_and_links(tmp_path):
    import mmengine
    from mmengine.utils.path import find_vcs_root

    mmengine.mkdir_or_exist("")
    for _ in range(2):
        mmengine.mkdir_or_exist(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    for _ in range(2):
        mmengine.symlink(str(tmp_path / "a"), str(tmp_path / "link"))
    assert os.readlink(tmp_path / "link") == str(tmp_path / "a")
    with pytest.raises(FileExistsError):
        mmengine.symlink(str(tmp_path / "a"), str(tmp_path / "link"), overwrite=False)
    (tmp_path / ".mark").mkdir()
    assert find_vcs_root(str(tmp_path / "a" / "b"), markers=(".mark",)) == str(tmp_path)
    assert find_vcs_root(str(tmp_path / "a"), markers=(".no_such_mark",)) is None


def test_files_of_a_folder(tmp_path):
    from mmengine import scandir

    names = ["a.bin", "1.txt", "2.txt", "1.json", "2.json", "3.TXT"]
    inside = ["sub/1.json", "sub/1.txt"]
    (tmp_path / "sub").mkdir()
    for name in [*names, *inside, ".file"]:
        (tmp_path / name).touch()
    for folder in (str(tmp_path), tmp_path):
        assert set(scandir(folder)) == set(names)
        assert set(scandir(folder, ".txt")) == {"1.txt", "2.txt"}
        assert set(scandir(folder, (".json", ".txt"))) == {"1.json", "2.json", "1.txt", "2.txt"}
        assert set(scandir(folder, ".png")) == set()
        assert set(scandir(folder, recursive=True)) == {*names, *inside}
        assert set(scandir(folder, ".txt", recursive=True)) == {"1.txt", "2.txt", "sub/1.txt"}
        assert set(scandir(folder, ".TXT", case_sensitive=False)) == {"1.txt", "2.txt", "3.TXT"}
    with pytest.raises(TypeError):
        list(scandir(123))
    with pytest.raises(TypeError):
        list(scandir(str(tmp_path), 111))


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    (tmp_path / "package_on_path").mkdir()
    (tmp_path / "package_on_path" / "__init__.py").touch()
    (tmp_path / "namespace_on_path").mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return tmp_path


def test_packages_on_the_path(on_path):
    from mmengine.utils import get_installed_path, is_installed

    assert is_installed("mmengine")
    assert os.path.isdir(get_installed_path("mmengine"))
    assert not is_installed("py_config")
    assert is_installed("package_on_path")
    assert get_installed_path("package_on_path") == str(on_path / "package_on_path")
    assert not is_installed("namespace_on_path")
    with pytest.raises(RuntimeError, match="is a namespace package, which is invalid"):
        get_installed_path("namespace_on_path")


def test_installed_packages(is_peer):
    import torch
    from mmengine.utils import call_command, get_installed_path, install_package, is_installed
    from mmengine.utils.package_utils import package2module

    assert is_installed("torch")
    assert get_installed_path("torch") == os.path.dirname(torch.__file__)
    assert is_installed("PyYAML")
    # The peer does not find a package whose name has other capitals than its folder; ours goes by its list of files.
    assert is_peer or os.path.basename(get_installed_path("PyYAML")) in ("yaml", "_yaml")
    assert package2module("torch") in ("torch", "functorch")
    with pytest.raises(Exception, match="no-such-package"):
        get_installed_path("no-such-package")
    with mock.patch("mmengine.utils.package_utils.call_command") as call:
        install_package("torch")
        assert not call.called
        install_package("no-such-package")
        assert call.call_args[0][0][1:] == ["-m", "pip", "install", "no-such-package"]
    with pytest.raises(Exception, match="non-zero exit status"):
        call_command([sys.executable, "-c", "raise SystemExit(2)"])


def test_versions():
    from mmengine.utils import digit_version

    for text, digits in PARSED.items():
        assert digit_version(text) == digits, text
    assert digit_version("1.2.3", length=2) == (1, 2, 0, 0)
    assert digit_version("1.0") == digit_version("1.0.0")
    assert digit_version("1.5.0+cuda90_cudnn7.6.3_lms") == digit_version("1.5")
    ascending = ["1.0.0dev", "1.0.0a", "1.0.0a1", "1.0.0b", "1.0.0rc", "1.0.0rc1", "1.0.0", "1.0.0post", "1.0.0post1"]
    digits = [digit_version(text) for text in ascending]
    assert digits == sorted(digits)
    assert digit_version("1.0.0a") < digit_version("1.0.0b") < digit_version("1.0.0rc")
    with pytest.raises(AssertionError):
        digit_version("parrots")
    with pytest.raises(ValueError):  # noqa: PT011 - the type is what counts
        digit_version("no version")


def test_git_hash():
    from mmengine.utils import get_git_hash

    sha = "3b46d33e90c397869ad5103075838fdfc9812aa0"
    with mock.patch("mmengine.utils.version_utils._minimal_ext_cmd", return_value=sha.encode()):
        assert get_git_hash() == sha
        assert get_git_hash(digits=6) == "3b46d3"
        assert get_git_hash(digits=100) == sha
        with pytest.raises(TypeError):
            get_git_hash(digits="6")
    with mock.patch("mmengine.utils.version_utils._minimal_ext_cmd", side_effect=OSError):
        assert get_git_hash() == "unknown"
        assert get_git_hash(fallback="n/a") == "n/a"

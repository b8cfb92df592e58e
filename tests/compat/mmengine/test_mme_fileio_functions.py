"""What MMEngine promises of its functions for files."""

import os
import shutil
import sys
from io import BytesIO
from pathlib import Path
from unittest.mock import MagicMock, patch

import pytest

pytestmark = pytest.mark.usefixtures("petrel")

URL = "https://raw.githubusercontent.com/mmengine/tests/data/img.png"
S3 = "s3://your_bucket/img.png"


@pytest.fixture
def petrel(mmengine, monkeypatch):
    """A client in the place of petrel's, and no storages that were made before."""
    import mmengine.fileio as fileio

    monkeypatch.setitem(sys.modules, "petrel_client", MagicMock())
    monkeypatch.setitem(sys.modules, "petrel_client.client", MagicMock())
    monkeypatch.setattr(fileio.io, "backend_instances", {})


@pytest.fixture
def tree(tmp_path):
    for name in ("dir1/text3.txt", "dir2/dir3/text4.txt", "dir2/img.jpg", "text1.txt", "text2.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_parse_uri_prefix(mmengine):
    import mmengine.fileio as fileio

    for uri in (None, []):
        with pytest.raises(AssertionError):
            fileio.io._parse_uri_prefix(uri)
    prefixes = {Path("a/b"): "", "/a/b": "", URL: "https", S3: "s3", "clusterName:s3://your_bucket/img.png": "s3"}
    for uri, prefix in prefixes.items():
        assert fileio.io._parse_uri_prefix(uri=uri) == prefix


def test_get_file_backend(mmengine):
    import mmengine.fileio as fileio

    with pytest.raises(ValueError, match='uri should not be None when "backend" does not exist in'):
        fileio.get_file_backend(None, backend_args=None)
    assert isinstance(fileio.get_file_backend(uri="a.jpg"), fileio.backends.LocalBackend)
    assert isinstance(fileio.get_file_backend(uri="petrel://x/y"), fileio.backends.PetrelBackend)
    assert isinstance(fileio.get_file_backend(uri=URL), fileio.backends.HTTPBackend)
    assert isinstance(fileio.get_file_backend(backend_args={"backend": "local"}), fileio.backends.LocalBackend)
    settings = {"path_mapping": {"src": "dst"}, "enable_mc": True}
    backend = fileio.get_file_backend(uri=S3, backend_args=settings)
    assert (backend.name, backend.path_mapping) == ("PetrelBackend", {"src": "dst"})
    named = {"backend": "petrel", **settings}
    assert fileio.get_file_backend(uri=URL, backend_args=named).name == "PetrelBackend"
    assert "backend" in named
    with pytest.raises(KeyError):
        fileio.get_file_backend(backend_args={"backend": "none"})
    with pytest.raises(KeyError):
        fileio.get_file_backend("nothing://x")


def test_one_object_for_equal_arguments(mmengine):
    import mmengine.fileio as fileio

    one = fileio.get_file_backend(uri="a.jpg", enable_singleton=True)
    assert fileio.io.backend_instances == {":{}": one}
    assert fileio.get_file_backend(uri="b.jpg", enable_singleton=True) is one
    assert fileio.get_file_backend(uri="a.jpg") is not one
    settings = {"path_mapping": {"src": "dst"}, "enable_mc": True}
    two = fileio.get_file_backend(uri="petrel://x", backend_args=settings, enable_singleton=True)
    key = 'petrel:{"path_mapping": {"src": "dst"}, "enable_mc": true}'
    assert fileio.io.backend_instances[key] is two
    assert len(fileio.io.backend_instances) == 2
    three = fileio.get_file_backend(uri="petrel://x", backend_args={"backend": "petrel"}, enable_singleton=True)
    assert three is not two
    assert 'petrel:{"backend": "petrel"}' in fileio.io.backend_instances


@pytest.mark.parametrize("kind", [str, Path])
def test_files_of_this_machine(mmengine, tree, kind):
    import mmengine.fileio as fileio

    text = kind(tree / "text1.txt")
    assert fileio.get(text) == fileio.get(text, backend_args={"backend": "local"}) == b"text1.txt"
    assert fileio.get_text(text) == fileio.get_text(text, "ascii") == "text1.txt"
    fileio.put(b"hello", kind(tree / "new" / "a.bin"))
    fileio.put_text("hello", kind(tree / "new" / "a.txt"))
    assert (tree / "new" / "a.bin").read_bytes() == (tree / "new" / "a.txt").read_bytes() == b"hello"
    assert (fileio.exists(text), fileio.isfile(text), fileio.isdir(text)) == (True, True, False)
    assert (fileio.exists(kind(tree)), fileio.isfile(kind(tree)), fileio.isdir(kind(tree))) == (True, False, True)
    assert fileio.join_path(kind(tree), "dir2", "dir3") == str(tree / "dir2" / "dir3")
    with fileio.get_local_path(text) as path:
        assert path == str(text)
    for name in ("copyfile", "copyfile_from_local", "copyfile_to_local"):
        copy = getattr(fileio, name)
        assert copy(text, kind(tree / "copy.txt")) == kind(tree / "copy.txt")
        assert copy(text, kind(tree / "dir1")) == str(tree / "dir1" / "text1.txt")
        with pytest.raises(shutil.SameFileError):
            copy(text, text)
        fileio.remove(kind(tree / "copy.txt"))
    for name in ("copytree", "copytree_from_local", "copytree_to_local"):
        copy = getattr(fileio, name)
        assert copy(kind(tree / "dir2"), kind(tree / "dir9")) == kind(tree / "dir9")
        with pytest.raises(FileExistsError):
            copy(kind(tree / "dir2"), kind(tree / "dir9"))
        fileio.rmtree(kind(tree / "dir9"))
        assert not (tree / "dir9").exists()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        fileio.remove(kind(tree / "none"))
    with pytest.raises(IsADirectoryError, match="filepath should be a file"):
        fileio.remove(kind(tree / "dir1"))
    assert fileio.copy_if_symlink_fails(text, kind(tree / "link")) is True
    assert (tree / "link").is_symlink()


def test_listing(mmengine, tree):
    import mmengine.fileio as fileio

    assert set(fileio.list_dir_or_file(tree)) == {"dir1", "dir2", "text1.txt", "text2.txt"}
    assert set(fileio.list_dir_or_file(str(tree), list_dir=False, suffix=".jpg", recursive=True)) == {
        os.path.join("dir2", "img.jpg")
    }
    with pytest.raises(TypeError, match="`suffix` should be None when `list_dir` is True"):
        list(fileio.list_dir_or_file(tree, list_file=False, suffix=".txt"))
    with pytest.raises(TypeError, match="`suffix` must be a string or tuple of strings"):
        list(fileio.list_dir_or_file(tree, list_dir=False, suffix=[".txt"]))


def test_object_storage_and_http(mmengine, tmp_path):
    import mmengine.fileio as fileio

    for name, value in (("get", b"x"), ("exists", True), ("isdir", True), ("generate_presigned_url", "x?y")):
        with patch.object(fileio.PetrelBackend, name, return_value=value) as called:
            assert getattr(fileio, name)(S3) == value
            called.assert_called_once()
    with patch.object(fileio.PetrelBackend, "put", return_value=None) as put:
        fileio.put(b"x", S3)
        put.assert_called_once_with(b"x", S3)
    assert fileio.join_path("s3://x", "y") == "s3://x/y"
    with patch("mmengine.fileio.backends.http_backend.urlopen", lambda url: BytesIO(b"page")):
        assert fileio.get(URL) == b"page"
        assert fileio.get_text(URL) == "page"
        with fileio.get_local_path(URL) as path:
            assert Path(path).read_bytes() == b"page"
        assert not os.path.exists(path)
    with patch.object(fileio.PetrelBackend, "copyfile_from_local", return_value=S3) as copy:
        assert fileio.copyfile_from_local("a.png", S3) == S3
        copy.assert_called_once_with("a.png", S3)
    with patch.object(fileio.PetrelBackend, "copyfile_to_local", return_value="a.png") as copy:
        assert fileio.copyfile_to_local(S3, "a.png", backend_args={"backend": "petrel"}) == "a.png"
        copy.assert_called_once_with(S3, "a.png")

"""What MMEngine promises of its storages: the registry of them, the disk, memcached, LMDB and HTTP."""

import os
import shutil
import sys
from io import BytesIO
from pathlib import Path
from unittest.mock import MagicMock, patch

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")


@pytest.fixture
def tables(mmengine):
    """The tables of storages, put back afterwards."""
    from mmengine.fileio import backends

    with patch.dict(backends.backends), patch.dict(backends.prefix_to_backends):
        yield backends


def storage(name="Example"):
    from mmengine.fileio import BaseStorageBackend

    def get(self, filepath):
        return filepath

    def get_text(self, filepath, encoding="utf-8"):
        return filepath

    return type(name, (BaseStorageBackend,), {"get": get, "get_text": get_text})


def test_register_backend(tables):
    from mmengine.fileio.backends import BaseStorageBackend, backends, prefix_to_backends, register_backend

    first, second = storage(), storage("Other")
    assert register_backend("example")(first) is first
    register_backend("example1", first)
    assert backends["example"] is backends["example1"] is first

    with pytest.raises(TypeError, match="the backend name should be a string"):
        register_backend(1, first)
    with pytest.raises(TypeError, match="backend should be a class"):
        register_backend("example2", lambda: None)
    with pytest.raises(TypeError, match="not a subclass of BaseStorageBackend"):
        register_backend("example2", int)
    with pytest.raises(ValueError, match="example is already registered as a storage backend"):
        register_backend("example", second)
    register_backend("example", second, force=True)
    assert backends["example"] is second

    register_backend("example3", first, prefixes="prefix1")
    register_backend("example4", first, prefixes=["prefix2", "prefix3"])
    register_backend("example5", first, prefixes=("prefix4",))
    assert {"prefix1", "prefix2", "prefix3", "prefix4"} <= set(prefix_to_backends)
    with pytest.raises(AssertionError):
        register_backend("example6", first, prefixes=1)
    with pytest.raises(ValueError, match="prefix2 is already registered as a storage backend"):
        register_backend("example7", second, prefixes="prefix2")
    register_backend("example7", second, prefixes="prefix2", force=True)
    assert prefix_to_backends["prefix2"] is backends["example7"] is second
    assert issubclass(second, BaseStorageBackend)


def test_the_tables_of_mmengine(mmengine):
    from mmengine.fileio import HTTPBackend, LmdbBackend, LocalBackend, MemcachedBackend, PetrelBackend
    from mmengine.fileio.backends.registry_utils import backends, prefix_to_backends

    named = {
        "local": LocalBackend,
        "memcached": MemcachedBackend,
        "lmdb": LmdbBackend,
        "petrel": PetrelBackend,
        "http": HTTPBackend,
    }
    assert {name: backends[name] for name in named} == named
    assert {prefix: kind.__name__ for prefix, kind in prefix_to_backends.items()} == {
        "": "LocalBackend",
        "petrel": "PetrelBackend",
        "s3": "PetrelBackend",
        "http": "HTTPBackend",
        "https": "HTTPBackend",
    }


def test_the_base_is_abstract(mmengine):
    from mmengine.fileio import BaseStorageBackend

    class Half(BaseStorageBackend):
        def get(self, filepath):
            return filepath

    with pytest.raises(TypeError, match="abstract"):
        Half()
    backend = storage()()
    assert (backend.name, backend.allow_symlink, backend._allow_symlink) == ("Example", False, False)
    assert backend.get("x") == backend.get_text("x") == "x"
    with pytest.raises(AttributeError):
        backend.put(b"", "x")
    assert not hasattr(backend, "exists")


@pytest.fixture
def tree(tmp_path):
    """dir1/text3.txt, dir2/dir3/text4.txt, dir2/img.jpg, text1.txt, text2.txt and hidden ones."""
    for name in ("dir1/text3.txt", "dir2/dir3/text4.txt", "dir2/img.jpg", "text1.txt", "text2.txt", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize("kind", [str, Path])
class TestLocal:
    def test_reading(self, tree, kind):
        from mmengine.fileio.backends import LocalBackend

        backend = LocalBackend()
        assert (backend.name, backend.allow_symlink) == ("LocalBackend", True)
        assert backend.get(kind(tree / "text1.txt")) == b"text1.txt"
        (tree / "gbk").write_bytes("\u4e2d\r\n".encode("gbk"))
        assert backend.get_text(kind(tree / "gbk"), encoding="gbk") == "\u4e2d\n"

    def test_writing(self, tree, kind):
        from mmengine.fileio.backends import LocalBackend

        backend = LocalBackend()
        backend.put(b"hello", kind(tree / "new" / "deep" / "a.bin"))
        assert (tree / "new" / "deep" / "a.bin").read_bytes() == b"hello"
        backend.put_text("hallo", kind(tree / "other" / "a.txt"), encoding="utf-16")
        assert (tree / "other" / "a.txt").read_text("utf-16") == "hallo"
        backend.put_text("hello", kind(tree / "text1.txt"))
        assert (tree / "text1.txt").read_text() == "hello"

    def test_what_is_there(self, tree, kind):
        from mmengine.fileio.backends import LocalBackend

        backend = LocalBackend()
        asked = [kind(tree / name) for name in ("dir1", "text1.txt", "none")]
        assert [backend.exists(path) for path in asked] == [True, True, False]
        assert [backend.isdir(path) for path in asked] == [True, False, False]
        assert [backend.isfile(path) for path in asked] == [False, True, False]
        assert backend.join_path(kind(tree), kind("a"), kind("b")) == os.path.join(tree, "a", "b")
        with backend.get_local_path(kind(tree / "text1.txt")) as path:
            assert path == kind(tree / "text1.txt")
        assert (tree / "text1.txt").exists()

    @pytest.mark.parametrize("name", ["copyfile", "copyfile_from_local", "copyfile_to_local"])
    def test_copies_of_files(self, tree, kind, name):
        from mmengine.fileio.backends import LocalBackend

        copy = getattr(LocalBackend(), name)
        src = tree / "text1.txt"
        src.chmod(0o640)
        assert copy(kind(src), kind(tree / "copy.txt")) == kind(tree / "copy.txt")
        assert (tree / "copy.txt").read_text() == "text1.txt"
        assert (tree / "copy.txt").stat().st_mode == src.stat().st_mode
        assert copy(kind(src), kind(tree / "dir1")) == str(tree / "dir1" / "text1.txt")
        assert (tree / "dir1" / "text1.txt").read_text() == "text1.txt"
        with pytest.raises(shutil.SameFileError):
            copy(kind(src), kind(src))
        with pytest.raises(FileNotFoundError):
            copy(kind(tree / "none"), kind(tree / "x"))

    @pytest.mark.parametrize("name", ["copytree", "copytree_from_local", "copytree_to_local"])
    def test_copies_of_folders(self, tree, kind, name):
        from mmengine.fileio.backends import LocalBackend

        copy = getattr(LocalBackend(), name)
        assert copy(kind(tree / "dir2"), kind(tree / "deep" / "dir9")) == kind(tree / "deep" / "dir9")
        assert (tree / "deep" / "dir9" / "dir3" / "text4.txt").is_file()
        with pytest.raises(FileExistsError):
            copy(kind(tree / "dir1"), kind(tree / "dir2"))
        assert sorted(os.listdir(tree / "deep")) == ["dir9"]

    def test_removal(self, tree, kind):
        from mmengine.fileio.backends import LocalBackend

        backend = LocalBackend()
        backend.remove(kind(tree / "text1.txt"))
        assert not (tree / "text1.txt").exists()
        with pytest.raises(FileNotFoundError, match=r"text1\.txt does not exist"):
            backend.remove(kind(tree / "text1.txt"))
        with pytest.raises(IsADirectoryError, match="filepath should be a file"):
            backend.remove(kind(tree / "dir1"))
        backend.rmtree(kind(tree / "dir2"))
        assert not (tree / "dir2").exists()

    def test_links_or_copies(self, tree, kind):
        from mmengine.fileio.backends import LocalBackend

        backend = LocalBackend()
        assert backend.copy_if_symlink_fails(kind(tree / "text1.txt"), kind(tree / "link")) is True
        assert os.readlink(tree / "link") == str(tree / "text1.txt")
        assert backend.copy_if_symlink_fails(kind(tree / "dir1"), kind(tree / "dirlink")) is True
        assert backend.copy_if_symlink_fails(kind(tree / "text1.txt"), kind(tree / "text2.txt")) is False
        assert (tree / "text2.txt").read_text() == "text1.txt"
        with patch.object(os, "symlink", side_effect=Exception):
            assert backend.copy_if_symlink_fails(kind(tree / "dir1"), kind(tree / "dir8")) is False
        assert (tree / "dir8" / "text3.txt").is_file()

    def test_listing(self, tree, kind):
        from mmengine.fileio.backends import LocalBackend

        def found(**settings):
            return set(LocalBackend().list_dir_or_file(kind(tree), **settings))

        dirs, texts = {"dir1", "dir2"}, {"text1.txt", "text2.txt"}
        deep = {os.path.join("dir1", "text3.txt"), os.path.join("dir2", "dir3", "text4.txt")}
        image = {os.path.join("dir2", "img.jpg")}
        assert found() == dirs | texts
        assert found(recursive=True) == dirs | texts | deep | image | {os.path.join("dir2", "dir3")}
        assert found(list_file=False) == dirs
        assert found(list_dir=False) == texts
        assert found(list_dir=False, suffix=".txt", recursive=True) == texts | deep
        assert found(list_dir=False, suffix=(".txt", ".jpg"), recursive=True) == texts | deep | image
        assert found(list_dir=False, suffix=".png") == set()
        with pytest.raises(TypeError, match="`suffix` should be None when `list_dir` is True"):
            LocalBackend().list_dir_or_file(kind(tree), list_file=False, suffix=".txt")
        with pytest.raises(TypeError, match="`suffix` must be a string or tuple of strings"):
            LocalBackend().list_dir_or_file(kind(tree), list_dir=False, suffix=[".txt"])


class MockMemcachedClient:
    def __init__(self, server_list_cfg, client_cfg):
        self.settings = server_list_cfg, client_cfg

    def Get(self, filepath, buffer):
        with open(filepath, "rb") as file:
            buffer.content = file.read()


def test_memcached(mmengine, tree):
    from mmengine.fileio.backends import MemcachedBackend

    with (
        patch.dict(sys.modules, {"mc": MagicMock()}),
        patch.object(sys, "path", list(sys.path)),
        patch("mc.MemcachedClient.GetInstance", MockMemcachedClient),
        patch("mc.pyvector", MagicMock),
        patch("mc.ConvertBuffer", lambda x: x.content),
    ):
        backend = MemcachedBackend(server_list_cfg="a", client_cfg="b", sys_path="/somewhere")
        assert sys.path[-1] == "/somewhere"
        assert backend._client.settings == (backend.server_list_cfg, backend.client_cfg) == ("a", "b")
        for kind in (str, Path):
            assert backend.get(kind(tree / "text1.txt")) == b"text1.txt"
        with pytest.raises(NotImplementedError):
            backend.get_text(tree / "text1.txt")
    with patch.dict(sys.modules, {"mc": None}), pytest.raises(ImportError):
        MemcachedBackend("a", "b")


def test_lmdb(mmengine):
    from mmengine.fileio.backends import LmdbBackend

    lmdb = MagicMock()
    lmdb.open.return_value.begin.return_value.__enter__.return_value = {b"baboon": b"value"}
    with patch.dict(sys.modules, {"lmdb": lmdb}):
        backend = LmdbBackend(Path("demo.lmdb"), map_size=9)
        lmdb.open.assert_not_called()
        assert backend.get("baboon") == backend.get(Path("baboon")) == b"value"
        assert backend.get("none") is None
        lmdb.open.assert_called_once_with("demo.lmdb", readonly=True, lock=False, readahead=False, map_size=9)
        with pytest.raises(NotImplementedError):
            backend.get_text("baboon")
        del backend
        lmdb.open.return_value.close.assert_called_once_with()
    with patch.dict(sys.modules, {"lmdb": None}), pytest.raises(ImportError):
        LmdbBackend("demo.lmdb")


def test_http(mmengine, tree):
    from mmengine.fileio.backends import HTTPBackend

    backend = HTTPBackend()
    assert (backend.name, backend.allow_symlink) == ("HTTPBackend", False)
    with patch("mmengine.fileio.backends.http_backend.urlopen", lambda url: BytesIO(url.encode("utf-16"))):
        assert backend.get("http://x/y.jpg") == "http://x/y.jpg".encode("utf-16")
        assert backend.get_text("http://x/y.txt", encoding="utf-16") == "http://x/y.txt"
        with backend.get_local_path("http://x/y.jpg") as path:
            assert Path(path).read_bytes() == "http://x/y.jpg".encode("utf-16")
        assert not os.path.exists(path)
    reply = MagicMock()
    reply.read.return_value = b"abc"
    with patch("mmengine.fileio.backends.http_backend.urlopen", return_value=reply) as opened:
        assert backend.get("https://x") == b"abc"
        opened.assert_called_once_with("https://x")
    for path in (tree / "text1.txt", str(tree / "text1.txt")):
        with pytest.raises((ValueError, AttributeError)):
            backend.get(path)
        with pytest.raises((ValueError, AttributeError)):
            backend.get_text(path)
    with pytest.raises(AttributeError):
        backend.put(b"", "http://x")

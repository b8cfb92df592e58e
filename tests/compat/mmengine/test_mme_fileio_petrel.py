"""What MMEngine promises of object storage, with a client in the place of petrel's."""

import contextlib
import os
import sys
from copy import deepcopy
from pathlib import Path
from shutil import SameFileError
from unittest.mock import MagicMock, patch

import pytest

pytestmark = pytest.mark.usefixtures("mmengine", "client_class")

DIR = "petrel://user/data"
PATH = "petrel://user/data/test.jpg"
URL = "s3://user/data/test.jpg"


class MockPetrelClient:
    def __init__(self, enable_mc=True, enable_multi_cluster=False, conf_path=None):
        self.enable_mc = enable_mc
        self.conf_path = conf_path

    def Get(self, filepath):
        with open(filepath, "rb") as file:
            return file.read()

    def put(self):
        pass

    def delete(self):
        pass

    def contains(self):
        pass

    def isdir(self):
        pass

    def list(self, dir_path):
        for entry in os.scandir(dir_path):
            if not entry.name.startswith(".") and entry.is_file():
                yield entry.name
            elif os.path.isdir(entry.path):
                yield entry.name + "/"

    def generate_presigned_url(self):
        pass


@pytest.fixture
def client_class(mmengine):
    """The class of the client, in the place of petrel's."""
    package = MagicMock()
    package.client.Client = MockPetrelClient
    with patch.dict(sys.modules, {"petrel_client": package, "petrel_client.client": package.client}):
        yield MockPetrelClient


@pytest.fixture
def backend(client_class):
    from mmengine.fileio import PetrelBackend

    return PetrelBackend()


@contextlib.contextmanager
def without(obj, *methods):
    kept = {method: deepcopy(getattr(type(obj), method)) for method in methods}
    for method in methods:
        delattr(type(obj), method)
    try:
        yield
    finally:
        for method, function in kept.items():
            setattr(type(obj), method, function)


@contextlib.contextmanager
def answers(obj, **values):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(patch.object(obj, name, return_value=value)) for name, value in values.items()]


@pytest.fixture
def tree(tmp_path):
    for name in ("dir1/text3.txt", "dir2/dir3/text4.txt", "dir2/img.jpg", "text1.txt", "text2.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_settings(mmengine, client_class):
    from mmengine.fileio import PetrelBackend

    backend = PetrelBackend(conf_path="some.conf", enable_mc=False)
    assert (backend.name, backend.allow_symlink) == ("PetrelBackend", False)
    assert type(backend._client) is client_class
    assert (backend._client.conf_path, backend._client.enable_mc) == ("some.conf", False)
    with pytest.raises(AssertionError):
        PetrelBackend(path_mapping=1)


def test_paths(mmengine, backend):
    from mmengine.fileio import PetrelBackend

    assert backend._map_path(Path("/data/a.jpg")) == "/data/a.jpg"
    mapped = PetrelBackend(path_mapping={"/data": DIR})
    assert mapped._map_path(Path("/data/data/a.jpg")) == f"{DIR}/data/a.jpg"
    assert backend._format_path("petrel://user\\data\\\\test.jpg") == PATH
    assert backend._replace_prefix(PATH) == URL
    assert backend.join_path(DIR, "a", "b.jpg") == backend.join_path(f"{DIR}/", "/a", "b.jpg") == f"{DIR}/a/b.jpg"
    assert mapped.join_path("/data", "a") == f"{DIR}/a"


def test_reading_and_writing(backend, tree):
    assert backend.get(tree / "text1.txt") == b"text1.txt"
    with answers(backend._client, Get=b"petrel") as [get]:
        assert backend.get(PATH) == b"petrel"
        get.assert_called_once_with(URL)
        assert backend.get_text(PATH) == "petrel"
    with answers(backend._client, put=None) as [put]:
        backend.put(b"petrel", PATH)
        put.assert_called_once_with(URL, b"petrel")
    with answers(backend._client, put=None) as [put]:
        backend.put_text("\u4e2d", PATH, encoding="gbk")
        put.assert_called_once_with(URL, "\u4e2d".encode("gbk"))


def test_what_is_there(backend):
    for operation, methods in (("exists", ("contains", "isdir")), ("isdir", ("isdir",)), ("isfile", ("contains",))):
        for missing in methods:
            with without(backend._client, missing), pytest.raises(NotImplementedError):
                getattr(backend, operation)(PATH)
        for value in (True, False):
            with answers(backend._client, **dict.fromkeys(methods, value)) as called:
                assert getattr(backend, operation)(PATH) is value
                called[0].assert_called_once_with(URL)
    with answers(backend._client, contains=False, isdir=True) as [contains, isdir]:
        assert backend.exists(PATH)
        contains.assert_called_once_with(URL)
        isdir.assert_called_once_with(URL)


def test_a_local_copy(backend):
    with answers(backend._client, Get=b"petrel", contains=True) as [get, contains]:
        with backend.get_local_path(PATH) as path:
            assert Path(path).read_bytes() == b"petrel"
        assert not os.path.exists(path)
        get.assert_called_once_with(URL)
        contains.assert_called_once_with(URL)


def test_copies_of_files(backend, tree):
    with answers(backend._client, Get=b"petrel", put=None, isdir=False) as [get, put, isdir]:
        assert backend.copyfile(PATH, f"{DIR}/test.bak.jpg") == f"{DIR}/test.bak.jpg"
        get.assert_called_once_with(URL)
        put.assert_called_once_with("s3://user/data/test.bak.jpg", b"petrel")
        isdir.assert_called_once_with("s3://user/data/test.bak.jpg")
    with answers(backend._client, Get=b"petrel", put=None, isdir=True) as [_, put, _]:
        assert backend.copyfile(PATH, "petrel://user/dir") == "petrel://user/dir/test.jpg"
        put.assert_called_once_with("s3://user/dir/test.jpg", b"petrel")
    with answers(backend._client, isdir=False), pytest.raises(SameFileError, match="src and dst should not be same"):
        backend.copyfile(PATH, PATH)
    with answers(backend, put=None, isdir=False) as [put, _]:
        assert backend.copyfile_from_local(str(tree / "text1.txt"), PATH) == PATH
        put.assert_called_once_with(b"text1.txt", PATH)
    with answers(backend, put=None, isdir=True) as [put, _]:
        assert backend.copyfile_from_local(tree / "text1.txt", DIR) == f"{DIR}/text1.txt"
        put.assert_called_once_with(b"text1.txt", f"{DIR}/text1.txt")
    for kind in (str, Path):
        with answers(backend, get=b"petrel") as [get]:
            assert backend.copyfile_to_local(PATH, kind(tree / "down.jpg")) == kind(tree / "down.jpg")
            get.assert_called_once_with(PATH)
        assert (tree / "down.jpg").read_bytes() == b"petrel"
        with answers(backend, get=b"petrel"):
            assert backend.copyfile_to_local(PATH, kind(tree / "dir1")) == kind(tree / "dir1" / "test.jpg")
        assert (tree / "dir1" / "test.jpg").read_bytes() == b"petrel"


def test_copies_of_folders(backend, tree):
    got, put, sent = [], [], []
    with (
        patch.object(backend, "put", side_effect=lambda obj, filepath: put.append(filepath)),
        patch.object(backend, "get", side_effect=lambda filepath: got.append(filepath) or b""),
        patch.object(backend, "exists", return_value=False),
    ):
        assert backend.copytree(str(tree), f"{tree}/dir") == f"{tree}/dir"
        assert len(got) == len(put) == 5
        assert f"{tree}/dir2/dir3/text4.txt" in got
        assert f"{tree}/dir/dir2/dir3/text4.txt" in put
    with (
        patch.object(backend, "copyfile_from_local", side_effect=lambda src, dst: sent.append((src, dst))),
        patch.object(backend, "exists", return_value=False),
    ):
        for kind in (str, Path):
            assert backend.copytree_from_local(kind(tree), DIR) == DIR
        assert len(sent) == 10
        assert (str(tree / "dir2" / "img.jpg"), f"{DIR}/dir2/img.jpg") in sent
    for copy in (backend.copytree, backend.copytree_from_local):
        with patch.object(backend, "exists", return_value=True), pytest.raises(FileExistsError):
            copy(str(tree), f"{tree}/dir")
    with patch.object(backend, "get", return_value=b"petrel") as get:
        assert backend.copytree_to_local(str(tree), tree / "new") == tree / "new"
        assert get.call_count == 5
    assert (tree / "new" / "dir2" / "dir3" / "text4.txt").read_bytes() == b"petrel"


def test_removal(backend, tree):
    with without(backend._client, "delete"), pytest.raises(NotImplementedError):
        backend.remove(PATH)
    with answers(backend._client, delete=None, isdir=False, contains=True) as [delete, isdir, contains]:
        backend.remove(PATH)
        for called in (delete, isdir, contains):
            called.assert_called_once_with(URL)
    with (
        answers(backend._client, isdir=False, contains=False),
        pytest.raises(FileNotFoundError, match="does not exist"),
    ):
        backend.remove(PATH)
    with (
        answers(backend._client, isdir=True, contains=False),
        pytest.raises(IsADirectoryError, match="should be a file"),
    ):
        backend.remove(PATH)
    with answers(backend, remove=None) as [remove]:
        backend.rmtree(str(tree))
        assert remove.call_count == 5
        remove.assert_any_call(f"{tree}/dir2/dir3/text4.txt")


def test_there_are_no_links(backend):
    with answers(backend, copyfile=None, isfile=True) as [copyfile, _]:
        assert backend.copy_if_symlink_fails(PATH, f"{DIR}/x.jpg") is False
        copyfile.assert_called_once_with(PATH, f"{DIR}/x.jpg")
    with answers(backend, copytree=None, isfile=False) as [copytree, _]:
        assert backend.copy_if_symlink_fails(DIR, "petrel://user/x") is False
        copytree.assert_called_once_with(DIR, "petrel://user/x")


def test_listing(backend, tree):
    with without(backend._client, "list"), pytest.raises(NotImplementedError):
        list(backend.list_dir_or_file(DIR))
    dirs, texts = {"dir1", "dir2"}, {"text1.txt", "text2.txt"}
    deep = {"dir1/text3.txt", "dir2/dir3/text4.txt"}
    for root in (str(tree), tree, f"{tree}/"):
        assert set(backend.list_dir_or_file(root)) == dirs | texts
        assert set(backend.list_dir_or_file(root, recursive=True)) == dirs | texts | deep | {
            "dir2/dir3",
            "dir2/img.jpg",
        }
        assert set(backend.list_dir_or_file(root, list_file=False)) == dirs
        assert set(backend.list_dir_or_file(root, list_dir=False, suffix=".txt", recursive=True)) == texts | deep
    with pytest.raises(TypeError, match="`list_dir` should be False when `suffix` is not None"):
        backend.list_dir_or_file(str(tree), list_file=False, suffix=".txt")
    with pytest.raises(TypeError, match="`suffix` must be a string or tuple of strings"):
        backend.list_dir_or_file(str(tree), list_dir=False, suffix=[".txt"])


def test_signed_urls(backend):
    with answers(backend._client, generate_presigned_url="https://x?signed") as [sign]:
        assert backend.generate_presigned_url(PATH) == "https://x?signed"
        sign.assert_called_once_with(PATH, "get_object", 3600)

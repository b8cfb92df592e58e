"""What MMEngine promises of FileClient."""

import sys
from io import BytesIO
from pathlib import Path
from unittest.mock import MagicMock, patch

import pytest

pytestmark = pytest.mark.usefixtures("mmengine", "tables")


@pytest.fixture
def tables(mmengine):
    """Its tables, put back afterwards, and a client in the place of petrel's."""
    from mmengine.fileio import FileClient

    with (
        patch.dict(FileClient._backends),
        patch.dict(FileClient._prefix_to_backends),
        patch.dict(FileClient._instances, clear=True),
        patch.dict(sys.modules, {"petrel_client": MagicMock(), "petrel_client.client": MagicMock()}),
    ):
        yield


def storage(answer, text="text"):
    from mmengine.fileio import BaseStorageBackend

    class Example(BaseStorageBackend):
        def get(self, filepath):
            return answer if answer is not None else filepath

        def get_text(self, filepath, encoding="utf-8"):
            return text

    return Example


def test_what_is_not_supported(mmengine):
    from mmengine.fileio import FileClient

    with pytest.raises(ValueError, match="Backend hadoop is not supported. Currently supported ones are"):
        FileClient("hadoop")
    with pytest.raises(ValueError, match="prefix hdfs is not supported"):
        FileClient(prefix="hdfs")


def test_the_disk(mmengine, tmp_path):
    from mmengine.fileio import FileClient

    client = FileClient("disk")
    assert client.name == "HardDiskBackend"
    assert client.allow_symlink
    client.put(b"disk", tmp_path / "not_existed" / "a.bin")
    client.put_text("text", str(tmp_path / "a.txt"))
    assert client.get(tmp_path / "not_existed" / "a.bin") == b"disk"
    assert client.get_text(tmp_path / "a.txt") == client.get_text(str(tmp_path / "a.txt"), "ascii") == "text"
    assert client.isfile(tmp_path / "a.txt")
    assert client.isdir(tmp_path)
    assert set(client.list_dir_or_file(tmp_path)) == {"not_existed", "a.txt"}
    assert client.join_path(str(tmp_path), "a") == f"{tmp_path}/a"
    with client.get_local_path(tmp_path / "a.txt") as path:
        assert path == str(tmp_path / "a.txt")
    client.remove(tmp_path / "a.txt")
    assert not client.exists(tmp_path / "a.txt")
    with pytest.raises(TypeError, match="`suffix` should be None when `list_dir` is True"):
        client.client.list_dir_or_file(tmp_path, list_file=False, suffix=".txt")


@pytest.mark.parametrize("settings", [{"backend": "petrel"}, {"prefix": "s3"}, {"backend": "petrel", "prefix": "http"}])
def test_petrel(mmengine, settings):
    from mmengine.fileio import FileClient

    client = FileClient(**settings)
    assert client.name == "PetrelBackend"
    assert not client.allow_symlink
    path = "s3://user/data/test.jpg"
    with patch.object(client.client._client, "Get", return_value=b"petrel") as get:
        assert client.get(path) == b"petrel"
        assert client.get_text(path) == "petrel"
        assert [call.args for call in get.call_args_list] == [(path,), (path,)]
    with patch.object(client.client._client, "put", return_value=None) as put:
        client.put_text("petrel", path)
        put.assert_called_once_with(path, b"petrel")
    with pytest.raises(AssertionError):
        FileClient("petrel", path_mapping=1)
    mapped = FileClient("petrel", path_mapping={"/data": "s3://user"})
    assert mapped.client._map_path("/data/x") == "s3://user/x"
    assert mapped is not client


def test_http(mmengine):
    from mmengine.fileio import FileClient

    client = FileClient("http")
    assert client.name == "HTTPBackend"
    with patch("mmengine.fileio.backends.http_backend.urlopen", lambda url: BytesIO(b"page")):
        assert client.get("http://x") == b"page"
        assert client.get_text("http://x") == "page"
        with client.get_local_path("http://x") as path:
            assert Path(path).read_bytes() == b"page"
    with pytest.raises(AttributeError):
        client.put(b"", "http://x")


def test_equal_arguments_share_one_object(mmengine):
    from mmengine.fileio import FileClient

    first, second = storage(b"1"), storage(b"2")
    FileClient.register_backend("dummy", first)
    one = FileClient("dummy")
    assert FileClient(backend="dummy") is one
    assert list(FileClient._instances) == ["dummy:None"]
    FileClient.register_backend("dummy", second, force=True)
    assert FileClient._instances == {}
    assert FileClient("dummy") is not one
    assert FileClient("dummy").get("") == b"2"


def test_choosing(mmengine):
    from mmengine.fileio import FileClient

    assert FileClient.parse_uri_prefix("s3://bucket/x") == FileClient.parse_uri_prefix("cluster:s3://bucket/x") == "s3"
    assert FileClient.parse_uri_prefix("https://x/y") == "https"
    assert FileClient.parse_uri_prefix(Path("/a/b")) is None
    for uri in (None, []):
        with pytest.raises(AssertionError):
            FileClient.parse_uri_prefix(uri)
    assert FileClient.infer_client({"backend": "disk"}).name == "HardDiskBackend"
    assert FileClient.infer_client(uri="/a/b").name == "HardDiskBackend"
    assert FileClient.infer_client(uri="s3://bucket/x").name == "PetrelBackend"
    assert FileClient.infer_client(uri="http://x").name == "HTTPBackend"
    assert FileClient.infer_client({"backend": "http"}, "s3://bucket/x").name == "HTTPBackend"
    with pytest.raises(AssertionError):
        FileClient.infer_client()


def test_registering(mmengine):
    from mmengine.fileio import FileClient

    for name, backend in ((1, storage(b"")), ("int", 0), ("int", int)):
        with pytest.raises(TypeError):
            FileClient.register_backend(name, backend)
    FileClient.register_backend("example", storage(None))
    client = FileClient("example")
    assert (client.get("x"), client.get_text("x")) == ("x", "text")
    assert "example" in FileClient._backends
    with pytest.raises(KeyError):
        FileClient.register_backend("example", storage(b"bytes2"))
    FileClient.register_backend("example", storage(b"bytes2"), force=True)
    assert FileClient("example").get("x") == b"bytes2"
    with pytest.raises(KeyError):
        FileClient.register_backend(name="example")(storage(b"bytes3"))
    third = storage(b"bytes3")
    assert FileClient.register_backend(name="example", force=True)(third) is third
    assert FileClient("example").get("x") == b"bytes3"
    FileClient.register_backend("example4", storage(b"4"), prefixes="prefix1")
    FileClient.register_backend("example5", storage(b"5"), prefixes=["prefix2", "prefix3"])
    FileClient.register_backend(name="example6", prefixes=("prefix4",))(storage(b"6"))
    assert FileClient(prefix="prefix1").get("") == b"4"
    assert FileClient(prefix="prefix3").get("") == b"5"
    assert FileClient.infer_client(uri="prefix4://x").get("") == b"6"
    with pytest.raises(KeyError):
        FileClient.register_backend("example7", storage(b"7"), prefixes="prefix1")
    FileClient.register_backend("example7", storage(b"7"), prefixes="prefix1", force=True)
    with pytest.raises(AssertionError):
        FileClient.register_backend("example8", storage(b"8"), prefixes={"x": 1})

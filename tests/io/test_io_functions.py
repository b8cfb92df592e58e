"""Which storage a path or URL belongs to, and what is said where there is none."""

from unittest import mock

import pytest

import trainwright.io as io
from trainwright.base.errors import MissingExtraError, RegistryError, RuleError, UnsupportedOperationError
from trainwright.io import functions
from trainwright.io.backends import backends, prefix_to_backends


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    monkeypatch.setattr(functions, "backend_instances", {})
    with mock.patch.dict(backends), mock.patch.dict(prefix_to_backends):
        yield


def test_prefixes():
    prefixes = {
        "dir/http://x": "",
        "C:\\data": "",
        "gs://bucket/x": "gs",
        "a:s3://bucket": "s3",
        "simplecache::s3://b/k": "simplecache",
    }
    assert {uri: functions._parse_uri_prefix(uri) for uri in prefixes} == prefixes
    with pytest.raises(RuleError, match="uri must be a str or a Path, got 7 of type int"):
        io.get(7)


def test_what_is_not_there():
    with pytest.raises(RegistryError, match=r"no storage backend 'locall'; there are local.*Did you mean 'local'\?"):
        io.get("x", backend_args={"backend": "locall"})
    with pytest.raises(RegistryError, match=r"no storage is known for 'htp://'.*Did you mean 'http'\?"):
        io.get("htp://x")
    with pytest.raises(ValueError, match="uri should not be None"):
        io.get_file_backend()
    for copy in (io.copyfile, io.copytree, io.copy_if_symlink_fails):
        with pytest.raises(ValueError, match="'/a' and dst 'memory://b' lie in two: take copyfile_from_local"):
            copy("/a", "memory://b")


class Shouting(io.LocalBackend):
    def __init__(self, **settings):
        self.settings = settings

    def get_text(self, filepath, encoding="utf-8"):
        return super().get_text(filepath, encoding).upper()


def test_a_storage_of_ones_own(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('"a"')
    io.register_backend("shouting", Shouting, prefixes="shout")
    assert io.load(path, backend_args={"backend": "shouting"}) == "A"
    assert io.get_file_backend("shout://x").name == "Shouting"
    first = io.get_file_backend("shout://x", enable_singleton=True)
    assert io.get_file_backend("shout://x", enable_singleton=True) is first

    class Other(Shouting):
        pass

    io.register_backend("shouting", Other, prefixes="shout", force=True)
    assert type(io.get_file_backend("shout://x", enable_singleton=True)) is Other
    assert io.get_text(path, backend_args={"backend": "shouting", "key": object()}) == '"A"'
    assert list(functions.backend_instances) == ["shout:{}"]
    with pytest.raises(ValueError, match='shout is already registered as a storage backend, add "force=True"'):
        io.register_backend("new", Shouting, prefixes=["newer", "shout"])
    assert "new" not in backends
    assert "newer" not in prefix_to_backends


def test_a_client_of_ones_own_storage():
    with (
        mock.patch.dict(io.FileClient._backends),
        mock.patch.dict(io.FileClient._prefix_to_backends),
        mock.patch.dict(io.FileClient._instances),
    ):
        io.FileClient.register_backend("shouting", Shouting, prefixes="s3", force=True)
        assert io.FileClient(prefix="s3").name == "Shouting"  # the prefix too is taken over
        with pytest.raises(ValueError, match=r"Backend shoutin is not supported.*Did you mean 'shouting'\?"):
            io.FileClient("shoutin")


def test_storages_that_give_bytes_alone():
    client = mock.MagicMock()
    with mock.patch.dict("sys.modules", {"mc": client, "lmdb": client}):
        memcached, lmdb = io.MemcachedBackend("servers", "client"), io.LmdbBackend("x.lmdb")
        for backend in (memcached, lmdb):
            with pytest.raises(UnsupportedOperationError, match="gives bytes: use get, and decode them"):
                backend.get_text("x")
            with pytest.raises(UnsupportedOperationError, match="has no exists"):
                backend.exists("x")
    with mock.patch.dict("sys.modules", {"mc": None, "lmdb": None}):
        with pytest.raises(MissingExtraError, match="LmdbBackend needs the package 'lmdb'.*pip install lmdb"):
            io.LmdbBackend("x.lmdb")
        with pytest.raises(MissingExtraError, match="MemcachedBackend needs the package 'mc'.*sys_path=..."):
            io.MemcachedBackend("servers", "client")

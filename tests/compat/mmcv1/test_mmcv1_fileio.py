"""mmcv.fileio through the face; with the marker `mmcv1` the same on MMCV 1.7.2."""

import io
import json
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import yaml

from trainwright.base.errors import DataError, MissingExtraError

DATA = [{"key1": 1}, {"key2": [0.5, "text", None]}]


@pytest.mark.parametrize("suffix", ["json", "yaml", "yml", "pkl", "pickle"])
def test_load_and_dump_by_suffix(mmcv, tmp_path, suffix):
    path = tmp_path / "folder" / f"data.{suffix}"
    mmcv.dump(DATA, path)
    assert mmcv.load(path) == mmcv.load(str(path)) == mmcv.load(str(path), file_format=suffix) == DATA
    text = mmcv.dump(DATA, file_format=suffix)
    raw = path.read_bytes()
    assert raw == (text if isinstance(text, bytes) else text.encode())
    is_text = isinstance(text, str)
    with open(path, "r" if is_text else "rb") as file:
        assert mmcv.load(file, file_format=suffix) == DATA
    buffer = io.StringIO() if is_text else io.BytesIO()
    mmcv.dump(DATA, buffer, file_format=suffix)
    assert buffer.getvalue() == text


def test_what_cannot_be_loaded_or_dumped(mmcv, is_peer, tmp_path):
    with pytest.raises(TypeError, match="Unsupported format: txt" + ("" if is_peer else "; there are json, yaml")):
        mmcv.load(tmp_path / "data.txt")
    with pytest.raises(TypeError, match="Unsupported format"):
        mmcv.dump(DATA, str(tmp_path / "data.txt"))
    with pytest.raises(ValueError, match="file_format"):
        mmcv.dump(DATA)
    for call in (lambda: mmcv.load(7, file_format="json"), lambda: mmcv.dump(DATA, 7, file_format="json")):
        with pytest.raises(TypeError, match="file"):
            call()
    with pytest.raises(TypeError, match="unsupported for json dump"):
        mmcv.dump({"a": object()}, file_format="json")


def test_json_of_numpy_and_sets(mmcv):
    text = mmcv.dump({"a": np.arange(3), "b": np.float32(0.5), "c": range(2), "d": {1}}, file_format="json")
    assert json.loads(text) == {"a": [0, 1, 2], "b": 0.5, "c": [0, 1], "d": [1]}
    assert mmcv.dump([1], file_format="json", indent=1) == "[\n 1\n]"


def test_yaml_has_tuples_and_makes_no_objects(mmcv, is_peer, tmp_path):
    path = tmp_path / "data.yaml"
    mmcv.dump({"a": (1, 2)}, path)
    assert mmcv.load(path) == {"a": (1, 2)}
    assert mmcv.load(io.BytesIO(b"[1, 2]"), file_format="yaml") == [1, 2]
    assert mmcv.load(io.StringIO("[1, x]"), file_format="yml", Loader=yaml.BaseLoader) == ["1", "x"]
    if is_peer:
        return
    path.write_text("!!python/object/apply:os.getcwd []\n")
    with pytest.raises(Exception, match="could not determine a constructor for the tag"):
        mmcv.load(path)


class Own:
    pass


def test_pickles_of_data(mmcv, is_peer, tmp_path):
    path = tmp_path / "data.pkl"
    data = OrderedDict(
        array=np.arange(6, dtype=np.float32).reshape(2, 3),
        names=np.array(["a", None], dtype=object),
        number=np.int64(3),
        raw=b"\x00\xff",
        kinds={1, (2, 3)},
        tensor=torch.arange(4).view(2, 2),
    )
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        mmcv.dump(data, path, protocol=protocol)
        read = mmcv.load(path)
        assert type(read) is OrderedDict
        assert read["array"].dtype == np.float32
        assert read["array"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert read["names"].tolist() == ["a", None]
        assert (read["number"], read["raw"], read["kinds"]) == (3, b"\x00\xff", {1, (2, 3)})
        assert torch.equal(read["tensor"], data["tensor"])
    if is_peer:
        return
    mmcv.dump(Own(), path)
    with pytest.raises(DataError, match=r"names test_mmcv1_fileio\.Own, and only data is read.*register_handler"):
        mmcv.load(path)
    path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(DataError, match=r"names (os|posix)\.system"):
        mmcv.load(path)


def test_handlers_of_ones_own(mmcv, tmp_path):
    handlers = sys.modules[mmcv.load.__module__].file_handlers
    with mock.patch.dict(handlers):

        @mmcv.register_handler(["txt", "log"])
        class TextHandler(mmcv.BaseFileHandler):
            def load_from_fileobj(self, file):
                return file.read()

            def dump_to_fileobj(self, obj, file):
                file.write(str(obj))

            def dump_to_str(self, obj):
                return str(obj)

        mmcv.dump(7, tmp_path / "a.log")
        assert mmcv.load(tmp_path / "a.log") == "7"
        handlers["txt"].dump_to_path("x", tmp_path / "b.txt")
        assert handlers["txt"].load_from_path(tmp_path / "b.txt") == "x"
        with pytest.raises(TypeError):
            mmcv.register_handler("json")(int)
        with pytest.raises(TypeError):
            mmcv.register_handler([1])(TextHandler)
    handler = mmcv.PickleHandler()
    handler.dump_to_path([1], str(tmp_path / "c.pkl"))
    assert handler.load_from_path(str(tmp_path / "c.pkl")) == [1]


def test_lists_and_dicts_from_text(mmcv, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("1 cat\n2 dog cow\n3 panda\r\n")
    assert mmcv.list_from_file(path) == ["1 cat", "2 dog cow", "3 panda"]
    assert mmcv.list_from_file(str(path), prefix="a", offset=1, max_num=1) == ["a2 dog cow"]
    assert mmcv.list_from_file(path, offset=2, max_num=0) == ["3 panda"]
    assert mmcv.dict_from_file(path) == {"1": "cat", "2": ["dog", "cow"], "3": "panda"}
    assert mmcv.dict_from_file(path, key_type=int)[1] == "cat"
    path.write_text("alone\n")
    with pytest.raises(AssertionError):
        mmcv.dict_from_file(path)
    path.write_bytes("\u4e2d\n".encode("gbk"))
    assert mmcv.list_from_file(path, encoding="gbk") == ["\u4e2d"]


@pytest.fixture
def files(tmp_path):
    for name in ("a.txt", "b.bin", "dir1/c.txt", "dir1/dir2/d.bin", ".hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def listings(client, root):
    """What a client finds below `root` by several settings."""
    return [
        set(client.list_dir_or_file(root)),
        set(client.list_dir_or_file(root, list_dir=False)),
        set(client.list_dir_or_file(root, recursive=True)),
        set(client.list_dir_or_file(root, list_dir=False, suffix=".txt", recursive=True)),
        set(client.list_dir_or_file(root, list_file=False, recursive=True)),
    ]


EXPECTED = [
    {"a.txt", "b.bin", "dir1"},
    {"a.txt", "b.bin"},
    {"a.txt", "b.bin", "dir1", "dir1/c.txt", "dir1/dir2", "dir1/dir2/d.bin"},
    {"a.txt", "dir1/c.txt"},
    {"dir1", "dir1/dir2"},
]


def test_the_disk(mmcv, files):
    client = mmcv.FileClient()
    assert client is mmcv.FileClient(backend="disk")
    assert (client.name, client.allow_symlink) == ("HardDiskBackend", True)
    assert client.get(files / "a.txt") == b"a.txt"
    assert client.get_text(str(files / "a.txt")) == "a.txt"
    client.put(b"x", files / "new" / "e.bin")
    client.put_text("y", files / "new" / "f.txt")
    assert client.isfile(files / "new" / "e.bin")
    assert client.isdir(files / "new")
    client.remove(files / "new" / "e.bin")
    assert not client.exists(files / "new" / "e.bin")
    client.remove(files / "new" / "f.txt")
    (files / "new").rmdir()
    assert client.join_path(files, "a", "b") == f"{files}/a/b"
    with client.get_local_path(files / "a.txt") as path:
        assert path == str(files / "a.txt")
    assert listings(client, files) == EXPECTED
    with pytest.raises(TypeError):
        list(client.list_dir_or_file(files, suffix=".txt"))
    with pytest.raises(TypeError):
        list(client.list_dir_or_file(files, list_dir=False, suffix=[".txt"]))


def test_object_storage_by_url(mmcv, is_peer, files):
    if is_peer:
        pytest.skip("MMCV reaches it by a client that is no public package")
    client = mmcv.FileClient(backend="petrel", path_mapping={"data:": f"file://{files}"})
    assert (client.name, client.allow_symlink) == ("PetrelBackend", False)
    assert bytes(client.get("data:/a.txt")) == b"a.txt"
    client.put(b"x", f"file://{files}/e.bin")
    client.put_text("y", "cluster:" + f"file://{files}/f.txt")
    assert client.get_text("data:/f.txt") == "y"
    assert client.exists("data:/e.bin")
    assert client.isfile("data:/e.bin")
    assert not client.isdir("data:/e.bin")
    client.remove("data:/e.bin")
    client.remove("data:/f.txt")
    assert not client.exists("data:/e.bin")
    with client.get_local_path("data:/a.txt") as path:
        assert Path(path).read_bytes() == b"a.txt"
    assert not Path(path).exists()
    (files / ".hidden").unlink()
    assert listings(client, f"file://{files}") == EXPECTED
    assert client.join_path("data:/", "a", "b.txt") == f"file://{files}/a/b.txt"
    with pytest.raises(TypeError):
        client.list_dir_or_file("data:/", suffix=".txt").__next__()


def test_http_and_what_has_no_client_here(mmcv, is_peer, files):
    client = mmcv.FileClient("http")
    url = (files / "a.txt").as_uri()
    assert client.get(url) == b"a.txt"
    assert client.get_text(url) == "a.txt"
    with client.get_local_path(url) as path:
        assert Path(path).read_text() == "a.txt"
    assert not Path(path).exists()
    for backend, settings in (
        ("ceph", {}),
        ("memcached", {"server_list_cfg": "", "client_cfg": ""}),
        ("lmdb", {"db_path": "x"}),
    ):
        with pytest.raises(ImportError), mock.patch.dict(sys.modules, {"lmdb": None, "mc": None, "ceph": None}):
            mmcv.FileClient(backend, **settings)
    if not is_peer:
        with pytest.raises(MissingExtraError, match="register_backend"):
            mmcv.FileClient("ceph")


class FakeLmdb:
    """`lmdb.open` of a database with one value."""

    def open(self, path, **settings):
        self.opened = path, settings
        return self

    def begin(self, write):
        return mock.MagicMock(__enter__=lambda context: {b"key": b"value"})

    def close(self):
        self.opened = None


def test_lmdb(mmcv):
    lmdb = FakeLmdb()
    with mock.patch.dict(sys.modules, {"lmdb": lmdb}):
        backend = mmcv.FileClient._backends["lmdb"]("x.lmdb", map_size=9)
        assert backend.get("key") == b"value"
        assert lmdb.opened == ("x.lmdb", {"readonly": True, "lock": False, "readahead": False, "map_size": 9})
        with pytest.raises(NotImplementedError):
            backend.get_text("key")
        del backend
    assert lmdb.opened is None


def test_choosing_a_client(mmcv):
    client = mmcv.FileClient
    assert client.parse_uri_prefix("s3://a/b") == client.parse_uri_prefix("cluster:s3://a/b") == "s3"
    assert client.parse_uri_prefix(Path("a/b")) is None
    with pytest.raises(AssertionError):
        client.parse_uri_prefix([1])
    assert client.infer_client(uri="https://x/y").name == "HTTPBackend"
    assert client.infer_client({"backend": "disk"}, "https://x/y").name == "HardDiskBackend"
    with pytest.raises(AssertionError):
        client.infer_client()
    for settings in ({"backend": "dsk"}, {"prefix": "s4"}):
        with pytest.raises(ValueError, match="is not supported. Currently supported ones are"):
            client(**settings)


def test_backends_of_ones_own(mmcv):
    client = mmcv.FileClient
    with (
        mock.patch.dict(client._backends),
        mock.patch.dict(client._prefix_to_backends),
        mock.patch.dict(client._instances),
    ):

        @client.register_backend("mine", prefixes=["my", "our"])
        class Mine(mmcv.BaseStorageBackend):
            def get(self, filepath):
                return filepath

            def get_text(self, filepath, encoding="utf-8"):
                return str(filepath)

        class Other(Mine):
            pass

        assert client("mine").get_text("x") == client.infer_client(uri="our://x").get_text("x") == "x"
        assert client("mine").name == "Mine"
        assert not client("mine").allow_symlink
        with pytest.raises(KeyError, match="mine is already registered as a storage backend"):
            client.register_backend("mine", Other)
        with pytest.raises(KeyError, match="my is already registered"):
            client.register_backend("other", Other, prefixes="my")
        client.register_backend("mine", Other, force=True, prefixes="my")
        assert client("mine").name == client(prefix="my").name == "Other"
        for name, backend in ((1, Mine), ("x", 1), ("x", int)):
            with pytest.raises(TypeError):
                client.register_backend(name, backend)

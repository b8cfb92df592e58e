"""What MMEngine promises of load and dump, of their formats, and of text files as lists and dicts."""

import os
import pickle
import sys
import tempfile
from pathlib import Path
from unittest.mock import MagicMock, patch

import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.usefixtures("petrel")

DATA = [{"a": "abc", "b": 1}, 2, "c"]
S3 = "s3://path/of/your/file"
HTTP = "http://path/of/your/file"


@pytest.fixture
def petrel(mmengine, monkeypatch):
    """A client in the place of petrel's; formats are put back."""
    from mmengine.fileio.handlers import file_handlers

    monkeypatch.setitem(sys.modules, "petrel_client", MagicMock())
    monkeypatch.setitem(sys.modules, "petrel_client.client", MagicMock())
    with patch.dict(file_handlers):
        yield


FORMATS = {
    "json": lambda text: text == '[{"a": "abc", "b": 1}, 2, "c"]',
    "yaml": lambda text: text in ("- {a: abc, b: 1}\n- 2\n- c\n", "- a: abc\n  b: 1\n- 2\n- c\n"),
    "yml": lambda text: yaml.safe_load(text) == DATA,
    "pickle": lambda data: pickle.loads(data) == DATA,
    "pkl": lambda data: data[:2] == b"\x80\x02",
}


@pytest.mark.parametrize("file_format", FORMATS)
def test_formats(mmengine, tmp_path, file_format):
    is_binary = file_format.startswith("p")
    assert FORMATS[file_format](mmengine.dump(DATA, file_format=file_format))
    for kind in (str, Path):
        path = kind(tmp_path / "dump")
        mmengine.dump(DATA, path, file_format=file_format)
        assert mmengine.load(path, file_format=file_format) == DATA
        path = kind(tmp_path / "folder" / f"dump.{file_format}")
        mmengine.dump(DATA, path)
        assert mmengine.load(path) == DATA
    with tempfile.TemporaryFile("rb+" if is_binary else "r+", dir=tmp_path) as file:
        mmengine.dump(DATA, file, file_format=file_format)
        file.seek(0)
        assert mmengine.load(file, file_format=file_format) == DATA
    with patch.object(mmengine.PetrelBackend, "put" if is_binary else "put_text", return_value=None) as put:
        mmengine.dump(DATA, S3, file_format=file_format)
        put.assert_called_once()
    data = mmengine.dump(DATA, file_format=file_format)
    with patch.object(mmengine.PetrelBackend, "get" if is_binary else "get_text", return_value=data):
        assert mmengine.load(S3, file_format=file_format) == DATA
        with pytest.warns(DeprecationWarning, match="file_client_args"):
            assert mmengine.load(S3, file_format=file_format, file_client_args={"backend": "petrel"}) == DATA


def test_what_cannot_be(mmengine, tmp_path):
    with pytest.raises(ValueError, match="file_format must be specified since file is None"):
        mmengine.dump(DATA)
    with pytest.raises(TypeError, match="Unsupported format"):
        mmengine.dump(DATA, str(tmp_path / "a.txt"))
    with pytest.raises(TypeError, match="Unsupported format"):
        mmengine.load("filename.txt")
    with pytest.raises(TypeError, match='"file" must be a filepath str or a file-object'):
        mmengine.load(7, file_format="json")
    with pytest.raises(TypeError, match='"file" must be a filename str or a file-object'):
        mmengine.dump(DATA, 7, file_format="json")
    both = {"file_client_args": {"backend": "disk"}, "backend_args": {"backend": "local"}}
    for call in (
        lambda: mmengine.load("a.json", **both),
        lambda: mmengine.dump(DATA, "a.json", **both),
        lambda: mmengine.list_from_file("a.txt", **both),
        lambda: mmengine.dict_from_file("a.txt", **both),
    ):
        with (
            pytest.raises(ValueError, match="cannot be set at the same time"),
            pytest.warns(DeprecationWarning, match="file_client_args"),
        ):
            call()


def test_json_of_numpy(mmengine):
    from mmengine.fileio.handlers.json_handler import set_default

    values = {"a": {1}, "b": range(2), "c": np.arange(2), "d": np.float32(0.5), "e": np.int64(3)}
    assert mmengine.dump(values, file_format="json") == '{"a": [1], "b": [0, 1], "c": [0, 1], "d": 0.5, "e": 3}'
    assert set_default(np.float64(0.25)) == 0.25
    with pytest.raises(TypeError, match="is unsupported for json dump"):
        mmengine.dump(object(), file_format="json")


class Own:
    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return type(other) is Own and other.number == self.number

    __hash__ = None


def test_pickles_of_anything(mmengine, tmp_path):
    path = tmp_path / "own.pkl"
    mmengine.dump({"own": Own(3)}, path)
    assert mmengine.load(path) == {"own": Own(3)}
    handler = mmengine.PickleHandler()
    handler.dump_to_path(Own(4), str(path), protocol=4)
    assert handler.load_from_path(str(path)) == Own(4)
    assert handler.load_from_path(str(path), encoding="latin1") == Own(4)


def test_register_handler(mmengine, tmp_path):
    @mmengine.register_handler("txt")
    class TxtHandler1(mmengine.BaseFileHandler):
        def load_from_fileobj(self, file):
            return file.read()

        def dump_to_fileobj(self, obj, file):
            file.write(str(obj))

        def dump_to_str(self, obj, **kwargs):
            return str(obj)

    @mmengine.register_handler(["txt1", "txt2"])
    class TxtHandler2(TxtHandler1):
        def dump_to_fileobj(self, obj, file):
            file.write("\n")
            file.write(str(obj))

    (tmp_path / "a.txt").write_text("1.jpg\n2.jpg")
    content = mmengine.load(str(tmp_path / "a.txt"))
    assert content == "1.jpg\n2.jpg"
    mmengine.dump(content, str(tmp_path / "a.txt2"))
    assert (tmp_path / "a.txt2").read_text() == "\n1.jpg\n2.jpg"
    for formats, kind in (("x", int), (1, TxtHandler1), ([1], TxtHandler1)):
        with pytest.raises(TypeError):
            mmengine.register_handler(formats)(kind)


LINES = "1.jpg\n2.jpg\n3.jpg\n4.jpg\n5.jpg"


def test_list_from_file(mmengine, tmp_path):
    path = tmp_path / "filelist.txt"
    path.write_text(LINES)
    names = LINES.split("\n")
    assert mmengine.list_from_file(str(path)) == mmengine.list_from_file(path) == names
    assert mmengine.list_from_file(path, prefix="a/") == [f"a/{name}" for name in names]
    assert mmengine.list_from_file(path, offset=2) == names[2:]
    assert mmengine.list_from_file(path, max_num=2) == names[:2]
    assert mmengine.list_from_file(path, offset=3, max_num=3) == names[3:]
    path.write_bytes("\u4e2d.jpg\r\n".encode("gbk"))
    assert mmengine.list_from_file(path, encoding="gbk") == ["\u4e2d.jpg"]
    for url, kind, settings in (
        (HTTP, mmengine.HTTPBackend, ({"backend": "http"}, {"prefix": "http"})),
        (S3, mmengine.PetrelBackend, ({"backend": "petrel"}, {"prefix": "s3"})),
    ):
        with patch.object(kind, "get_text", return_value="1.jpg\n2.jpg\n3.jpg"):
            for each in settings:
                with pytest.warns(DeprecationWarning, match="file_client_args"):
                    assert mmengine.list_from_file(url, file_client_args=each) == names[:3]
            assert mmengine.list_from_file(url) == names[:3]
            assert mmengine.list_from_file(url, backend_args={"backend": next(iter(settings[0].values()))}) == names[:3]


def test_dict_from_file(mmengine, tmp_path):
    path = tmp_path / "mapping.txt"
    path.write_text("1 cat\n2 dog cow\n3 panda")
    mapping = {"1": "cat", "2": ["dog", "cow"], "3": "panda"}
    assert mmengine.dict_from_file(str(path)) == mmengine.dict_from_file(path) == mapping
    assert mmengine.dict_from_file(path, key_type=int) == {int(key): value for key, value in mapping.items()}
    for url, kind, settings in (
        (HTTP, mmengine.HTTPBackend, ({"backend": "http"}, {"prefix": "http"})),
        (S3, mmengine.PetrelBackend, ({"backend": "petrel"}, {"prefix": "s3"})),
    ):
        with patch.object(kind, "get_text", return_value="1 cat\n2 dog cow\n3 panda"):
            for each in settings:
                with pytest.warns(DeprecationWarning, match="file_client_args"):
                    assert mmengine.dict_from_file(url, file_client_args=each) == mapping
            assert mmengine.dict_from_file(url) == mapping
    path.write_text("alone\n")
    with pytest.raises(AssertionError):
        mmengine.dict_from_file(path)


def test_paths_of_names(mmengine):
    """A name is one object wherever it is imported from."""
    import mmengine.fileio as fileio
    import mmengine.fileio.file_client
    import mmengine.fileio.io
    import mmengine.fileio.parse

    assert mmengine.load is fileio.load is fileio.io.load
    assert mmengine.list_from_file is fileio.parse.list_from_file
    assert fileio.io.file_handlers is fileio.handlers.file_handlers
    assert fileio.io.register_handler is mmengine.register_handler
    assert fileio.io.backends is fileio.backends.backends
    assert fileio.file_client.HardDiskBackend is mmengine.HardDiskBackend
    assert fileio.backends.local_backend.LocalBackend is mmengine.LocalBackend
    assert issubclass(mmengine.HardDiskBackend, mmengine.LocalBackend)
    assert os.path.sep in fileio.__file__

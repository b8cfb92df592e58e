"""Formats of files: what is read is data, and a pickle only from who is trusted."""

import logging
import pickle
import sys
import tempfile
import traceback

import numpy as np
import pytest
import torch
import yaml

import trainwright.io as io
from trainwright.base.defaults import defaults
from trainwright.base.errors import DataError
from trainwright.base.logs import MMLogger
from trainwright.io.handlers import pickle_handler

_ran = []


class RunsCode:
    def __reduce__(self):
        return _ran.append, ("ran",)


@pytest.fixture
def said(monkeypatch):
    """What is logged."""
    lines = []
    monkeypatch.setattr(pickle_handler, "_warned", set())
    monkeypatch.setattr(
        MMLogger, "callHandlers", lambda self, record: lines.append((record.levelno, record.getMessage()))
    )
    return lines


def test_a_pickle_is_refused(tmp_path, said):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(RunsCode()))
    message = r"is a pickle, and reading one runs whatever code.*load\(file, trusted=True\)"
    with pytest.raises(DataError, match=f"a.pkl {message}"):
        io.load(path)
    with pytest.raises(DataError, match=f"a.pkl {message}"):
        io.PickleHandler().load_from_path(path)
    with open(path, "rb") as file, pytest.raises(DataError, match=f"a.pkl {message}"):
        io.load(file, file_format="pickle")
    with tempfile.TemporaryFile(dir=tmp_path) as file, pytest.raises(DataError, match=f"^a .* {message}"):
        io.load(file, file_format="pickle")
    assert (_ran, said) == ([], [])


def test_a_pickle_that_is_trusted(tmp_path, said):
    path = tmp_path / "a.pkl"
    io.dump({"a": np.arange(3)}, path)
    assert io.load(path, trusted=True)["a"].tolist() == [0, 1, 2]
    assert io.load(path, trusted=True, encoding="latin1")["a"].tolist() == [0, 1, 2]
    assert pickle.loads(io.dump([1], file_format="pkl", protocol=4)) == [1]
    assert said == []


def test_where_pickles_are_trusted_each_is_warned_of_once(tmp_path, said, monkeypatch):
    monkeypatch.setattr(defaults, "trusts_pickles", True)
    for name in ("a.pkl", "b.pkl"):
        io.dump([1], tmp_path / name)
        for _ in range(2):
            assert io.load(tmp_path / name) == [1]
    assert [level for level, _ in said] == [logging.WARNING] * 2
    assert [text.partition(" is unpickled, which runs whatever code it holds")[0] for _, text in said] == [
        str(tmp_path / "a.pkl"),
        str(tmp_path / "b.pkl"),
    ]


def test_yaml_makes_no_objects(tmp_path):
    path = tmp_path / "a.yaml"
    io.dump({"a": (1, 2), "b": slice(3).stop}, path)
    assert io.load(path) == io.load(path, trusted=True) == {"a": (1, 2), "b": 3}
    path.write_text("!!python/object/apply:os.getcwd []\n")
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor for the tag"):
        io.load(path)
    path.write_text("[1, x]")
    assert io.load(path, Loader=yaml.BaseLoader) == ["1", "x"]
    with open(path, "rb") as file:
        assert io.load(file, file_format="yml") == [1, "x"]


def test_json_of_what_json_has_not(tmp_path):
    values = {"a": torch.arange(2), "b": torch.tensor(0.5), "c": np.eye(1), "d": np.int8(3), "e": {1}, "f": range(2)}
    path = tmp_path / "a.json"
    io.dump(values, path, indent=1)
    assert io.load(path) == {"a": [0, 1], "b": 0.5, "c": [[1.0]], "d": 3, "e": [1], "f": [0, 1]}
    assert io.load(path, trusted=True, parse_int=str)["d"] == "3"
    with pytest.raises(TypeError, match="unsupported for json dump: make it a number, text, list or dict, got"):
        io.dump(object, file_format="json")


def test_messages(tmp_path):
    with pytest.raises(
        TypeError, match=r"Unsupported format: jsn; there are json, .*Did you mean 'json'\?.*register_h"
    ):
        io.load("a.jsn")
    with pytest.raises(TypeError, match="handler must be a child of BaseFileHandler, not 0 of type int"):
        io.register_handler("x")(int)
    with pytest.raises(TypeError, match="file_formats must be a str or a list of str, got"):
        io.register_handler(("x",))(io.JsonHandler)
    with pytest.raises(TypeError, match='"file" must be a filepath str or a file-object, got 7 of type int'):
        io.load(7, file_format="json")
    path = tmp_path / "pairs.txt"
    path.write_text("1 cat\nalone\n")
    with pytest.raises(AssertionError, match=r"pairs.txt:2: a line must have a key and a value, got 'alone\\n'"):
        io.dict_from_file(path)


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.yaml", "a: [1\nb: -")])
@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have no notes before Python 3.11")
def test_what_cannot_be_read_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises((ValueError, yaml.YAMLError)) as caught:
        io.load(tmp_path / name)
    told = "".join(traceback.format_exception(caught.value))
    assert f"This was raised when {tmp_path / name} was read." in told


def test_the_older_argument_is_warned_of_where_it_is_used(tmp_path):
    io.dump([1], tmp_path / "a.json")
    io.put_text("1 a\n", tmp_path / "a.txt")
    settings = {"file_client_args": {"backend": "disk"}}
    for call in (
        lambda: io.load(tmp_path / "a.json", **settings),
        lambda: io.dump([1], tmp_path / "a.json", **settings),
        lambda: io.list_from_file(tmp_path / "a.txt", **settings),
        lambda: io.dict_from_file(tmp_path / "a.txt", **settings),
    ):
        with pytest.warns(DeprecationWarning, match='use "backend_args"') as found:
            call()
        assert found[0].filename == __file__

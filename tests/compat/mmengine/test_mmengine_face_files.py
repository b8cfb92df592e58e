"""Where files are read otherwise through the face than by MMEngine, and otherwise than without the face."""

import logging

import pytest
import yaml
from mme_suite import face_installed

import trainwright.io as io
from trainwright.base.errors import DataError
from trainwright.base.logs import MMLogger
from trainwright.io.handlers import pickle_handler


def test_a_pickle_is_loaded_and_named_once(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(pickle_handler, "_warned", set())
    monkeypatch.setattr(
        MMLogger, "callHandlers", lambda self, record: said.append((record.levelno, record.getMessage()))
    )
    path = tmp_path / "old.pkl"
    with face_installed() as mmengine:
        mmengine.dump({"a": {1}}, path)
        for _ in range(3):
            assert mmengine.load(path) == mmengine.load(str(path)) == {"a": {1}}
        with open(path, "rb") as file:
            assert mmengine.load(file, file_format="pkl") == {"a": {1}}
    assert len(said) == 1
    assert said[0][0] == logging.WARNING
    assert said[0][1].startswith(f"{path} is unpickled, which runs whatever code it holds")
    with pytest.raises(DataError, match=r"old.pkl is a pickle.*load\(file, trusted=True\)"):
        io.load(path)


def test_yaml_is_data(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("!!python/object/apply:os.getcwd []\n")
    with face_installed() as mmengine, pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        mmengine.load(path)


def test_the_modules_are_ours(tmp_path):
    with face_installed():
        import mmengine.fileio as fileio
        from mmengine.fileio.backends import http_backend

        assert fileio.io is io.functions
        assert fileio.backends.prefix_to_backends is io.functions.prefix_to_backends
        assert http_backend.HTTPBackend is io.HTTPBackend
        assert fileio.exists(f"file://{tmp_path}")  # what fsspec reaches is there as well

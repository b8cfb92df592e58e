import pytest

from trainwright.config import Config
from trainwright.runner.check import validate
from trainwright.testing.toys import toy_config


@pytest.fixture
def found(tmp_path, monkeypatch):
    """A function: the problems of the toy config with some keys changed, as `(level, "key: message")`.

    Nothing may be made by it, neither a file nor an object.
    """
    monkeypatch.chdir(tmp_path)

    def problems(**changes):
        work_dir = changes.pop("work_dir", "run")
        listed = validate(Config(toy_config("run", **changes) | {"work_dir": work_dir}))
        assert list(tmp_path.rglob("run")) == []
        return [(problem.level, str(problem)) for problem in listed]

    return problems


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function: the config that a text, put behind the toy config's in a file `a.py`, is read to."""
    monkeypatch.chdir(tmp_path)

    def read(text, name="a.py"):
        lines = [f"{key} = {value!r}" for key, value in toy_config("run").items()]
        (tmp_path / "toy.py").write_text("\n".join(lines) + "\n")
        (tmp_path / name).write_text(f"_base_ = 'toy.py'\n{text}")
        return Config.fromfile(name)

    return read

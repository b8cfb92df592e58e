"""LoggerHook copies the logs when the run ends."""

import json
from pathlib import Path

import fsspec
import pytest

from trainwright.base.errors import ConfigError
from trainwright.hooks import LoggerHook
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config


def trained(work_dir, **settings):
    cfg = toy_config(work_dir, log_level="INFO", default_hooks={"logger": {"type": "LoggerHook", **settings}})
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def test_files_are_copied_whole(tmp_path):
    runner = trained(tmp_path / "run", out_dir=tmp_path / "out", interval=2)
    target = tmp_path / "out" / "run"
    assert files_in(target) == files_in(runner.log_dir)
    rows = (target / "vis_data" / "scalars.json").read_text().splitlines()
    assert len([row for row in map(json.loads, rows) if "loss" in row]) == 4
    assert "the logs are copied to" in (target / f"{runner.timestamp}.log").read_text()


def test_some_files_that_then_lie_there_only(tmp_path):
    runner = trained(tmp_path / "run", out_dir=str(tmp_path / "out"), out_suffix="scalars.json", keep_local=False)
    assert files_in(tmp_path / "out" / "run") == {"vis_data/scalars.json"}
    assert f"{runner.timestamp}.log" in files_in(runner.log_dir)
    assert "vis_data/scalars.json" not in files_in(runner.log_dir)


def test_another_storage(tmp_path):
    trained(tmp_path / "run", out_dir="memory://logs", out_suffix=["scalars.json"])
    storage = fsspec.filesystem("memory")
    assert b'"loss"' in storage.cat("/logs/run/vis_data/scalars.json")
    storage.rm("/logs", recursive=True)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"out_dir": 3}, "out_dir must be a folder or a URL, but got 3"),
        ({"out_suffix": [3]}, r"out_suffix must be a text or a list of texts, but got \[3\]"),
        ({"keep_local": "no"}, "keep_local must be True or False, but got 'no'"),
        (
            {"file_client_args": {"backend": "local"}},
            "file_client_args says where out_dir lies, and there is no out_dir",
        ),
        ({"out_dir": "x", "backend_args": {}, "file_client_args": {}}, "keep backend_args"),
        ({"out_dir": "x", "backend_args": {"backend": "petrol"}}, "knows no backend .*petrol.*a URL, such as s3://"),
        ({"ignore_last": 1}, "ignore_last must be True or False, but got 1"),
    ],
)
def test_wrong_settings(settings, text):
    with pytest.raises(ConfigError, match=text):
        LoggerHook(**settings)

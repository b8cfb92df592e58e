import io
import logging
import re
from pathlib import Path

import pytest
import torch

from trainwright.base.errors import ConfigError
from trainwright.base.logs import MMLogger, print_log


@pytest.fixture
def make_logger():
    made = []

    def make(name, **kwargs):
        made.append(MMLogger.get_instance(name, **kwargs))
        return made[-1]

    yield make
    for logger in made:
        logger.close()


def test_console_follows_sys_stderr_and_file_is_written(make_logger, tmp_path, capsys):
    path = tmp_path / "run.log"
    logger = make_logger("log-a", logger_name="tw", log_file=path)
    logger.info("hello %d", 3)
    logger.debug("not shown")
    assert "tw - INFO - hello 3\n" in capsys.readouterr().err
    assert "hello 3" in path.read_text()
    assert "not shown" not in path.read_text()
    assert logger.log_file == str(path)
    assert MMLogger.get_instance("log-a") is logger


def test_level_can_change_at_any_time(make_logger, capsys):
    logger = make_logger("log-b", log_level="WARNING")
    logger.info("quiet")
    logger.setLevel("INFO")
    logger.handlers[0].setLevel("INFO")
    logger.info("loud")
    assert "quiet" not in (err := capsys.readouterr().err)
    assert "loud" in err


def test_other_ranks_show_errors_only_and_write_no_file(make_logger, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    logger = make_logger("log-c", log_file=tmp_path / "run.log")
    logger.info("hello")
    logger.error("bad")
    err = capsys.readouterr().err
    assert "hello" not in err
    assert "bad" in err
    assert logger.log_file is None
    assert list(tmp_path.iterdir()) == []


def test_distributed_gives_each_rank_its_file(make_logger, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    logger = make_logger("log-d", log_file=tmp_path / "run.log", distributed=True)
    assert re.fullmatch(r"run_.+@.+_device0_rank1\.log", Path(logger.log_file).name)
    logger.info("hello")
    assert "hello" in (tmp_path / logger.log_file).read_text()


def test_colour_only_on_a_terminal(make_logger, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    logger = make_logger("log-e")
    logger.warning("careful")
    import sys

    assert "\033[33mWARNING\033[0m" in sys.stderr.getvalue()


def test_a_message_that_cannot_be_formatted_does_not_stop_the_program(make_logger, capsys):
    make_logger("log-f").info("%d", "no number")
    assert "Logging error" in capsys.readouterr().err


def test_print_log_chooses_its_logger(make_logger, capsys):
    logger = make_logger("log-g")
    print_log("to stdout")
    print_log("nowhere", "silent")
    print_log("by name", "log-g")
    print_log("itself", logger, level=logging.WARNING)
    with logger.as_current():
        print_log("current one", "current")
    out, err = capsys.readouterr()
    assert out == "to stdout\n"
    assert all(text in err for text in ("by name", "WARNING - itself", "current one"))
    assert "nowhere" not in err
    with pytest.raises(ValueError, match="there is no MMLogger named 'nobody'"):
        print_log("x", "nobody")
    with pytest.raises(TypeError, match=r"logger must be a logging.Logger, a name, .* got int"):
        print_log("x", 3)


def test_there_is_always_a_current_logger():
    MMLogger.get_current_instance()
    assert MMLogger._instance_dict
    if MMLogger.check_instance_created("trainwright"):
        MMLogger.get_instance("trainwright").close()


@pytest.mark.parametrize(
    ("environ", "device"),
    [
        ({"LOCAL_RANK": "1"}, "1"),
        ({"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "4,6"}, "6"),
        ({"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, "GPU-b"),
        ({"LOCAL_RANK": "3", "CUDA_VISIBLE_DEVICES": "4"}, "3"),
    ],
)
def test_files_of_ranks_name_user_host_and_device(make_logger, tmp_path, monkeypatch, environ, device):
    import getpass
    import socket

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", **environ}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(socket, "gethostname", lambda: "node7")
    logger = make_logger("log-h", log_file=tmp_path / "run.log", log_level="DEBUG")
    assert Path(logger.log_file).name == f"run_ada@node7_device{device}_rank1.log"


def test_without_cuda_the_device_is_the_local_rank(make_logger, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    environ = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "4,6"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    logger = make_logger("log-k", log_file=tmp_path / "run.log", distributed=True)
    assert Path(logger.log_file).name.endswith("_device1_rank1.log")


def test_a_user_without_a_name_is_left_out(make_logger, tmp_path, monkeypatch):
    import getpass

    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(getpass, "getuser", nobody)
    logger = make_logger("log-i", log_file=tmp_path / "run.log", distributed=True)
    assert re.fullmatch(r"run_device\w+_rank1\.log", Path(logger.log_file).name)


def test_a_warning_is_said_once(make_logger, tmp_path, capsys):
    logger = make_logger("log-j", log_file=tmp_path / "run.log")
    for n in range(3):
        logger.warning("watch out")
        logger.warning("%s things", n // 2)
        logger.info("again")
        logger.error("broken")
    for text in (capsys.readouterr().err, (tmp_path / "run.log").read_text()):
        counts = [text.count(word) for word in ("watch out", "0 things", "1 things", "again", "broken")]
        assert counts == [1, 1, 1, 3, 3]


def test_a_warning_that_cannot_be_formatted_does_not_stop_the_program(make_logger, capsys):
    make_logger("log-k").warning("%d", "no number")
    assert "Logging error" in capsys.readouterr().err


def test_the_file_handler_can_be_chosen(make_logger, tmp_path):
    cfg = {"type": "RotatingFileHandler", "maxBytes": 200, "backupCount": 1}
    logger = make_logger("log-l", log_file=tmp_path / "run.log", file_handler_cfg=cfg)
    for n in range(10):
        logger.info("line %d", n)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.log", "run.log.1"]
    assert cfg == {"type": "RotatingFileHandler", "maxBytes": 200, "backupCount": 1}, "the caller's dict is its own"


def test_an_unknown_file_handler_names_the_known_ones(make_logger, tmp_path):
    with pytest.raises(
        ConfigError, match=r"RotatingFileHandler.*got 'RotatingFile'.*Did you mean 'RotatingFileHandler'"
    ):
        make_logger("log-m", log_file=tmp_path / "run.log", file_handler_cfg={"type": "RotatingFile"})


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_for_who_wants_none(make_logger, monkeypatch, environ):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    make_logger("log-n").warning("careful")
    assert "\033" not in screen.getvalue()


def test_a_level_that_there_is_not(make_logger):
    text = r"log_level 'WARNNG' is not known; known: NOTSET, DEBUG, INFO, .*, or a number\. Did you mean 'WARNING'"
    with pytest.raises(ConfigError, match=text):
        MMLogger("log-levels", log_level="WARNNG")
    with pytest.raises(ValueError, match="log_level 'WARNNG' is not known"):
        make_logger("log-i").setLevel("WARNNG")

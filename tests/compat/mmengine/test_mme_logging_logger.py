"""MMLogger, what it writes where, and `print_log`."""

import logging
import os
import re
import sys
from collections import OrderedDict
from unittest import mock

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")
CONSOLE_TIME = r"\d{2}/\d{2} \d{2}:\d{2}:\d{2}"
FILE_TIME = r"\d{4}/\d{2}/\d{2} \d{2}:\d{2}:\d{2}"


@pytest.fixture(autouse=True)
def loggers():
    """The table of loggers, which is as before afterwards."""
    from mmengine.logging import MMLogger

    before = MMLogger._instance_dict
    MMLogger._instance_dict = OrderedDict()
    yield MMLogger
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    MMLogger._instance_dict = before


def rank_of(rank, world_size=1):
    """As a process of a distributed run sees it."""
    module = "mmengine.logging.logger"
    return (
        mock.patch(f"{module}._get_rank", return_value=rank),
        mock.patch(f"{module}._get_world_size", return_value=world_size),
        mock.patch(f"{module}._get_device_id", return_value=rank),
        mock.patch(f"{module}._get_host_info", return_value="me@here"),
    )


def test_rank_0(loggers, tmp_path):
    logger = loggers.get_instance("rank0", log_level="INFO")
    assert (logger.name, logger.instance_name) == ("mmengine", "rank0")
    assert logger.parent is None
    assert len(logger.handlers) == 1
    assert isinstance(logger.handlers[0], logging.StreamHandler)
    assert (logger.level, logger.handlers[0].level) == (logging.NOTSET, logging.INFO)
    path = tmp_path / "run.log"
    logger = loggers.get_instance("rank0.file", log_level="INFO", log_file=str(path))
    assert isinstance(logger, logging.Logger)
    assert len(logger.handlers) == 2
    assert isinstance(logger.handlers[1], logging.FileHandler)
    assert not isinstance(logger.handlers[0], logging.FileHandler)
    assert logger.log_file == str(path)
    assert loggers.get_instance("rank0.file") is logger
    named = loggers.get_instance("rank0.named", logger_name="mine", log_level="INFO")
    assert (named.name, named.instance_name) == ("mine", "rank0.named")


def test_rank_1(loggers, tmp_path):
    patches = rank_of(1, 8)
    for patch in patches:
        patch.start()
    try:
        quiet = loggers.get_instance("rank1.quiet", log_level="INFO", log_file=str(tmp_path / "quiet.log"))
        logger = loggers.get_instance("rank1", log_level="INFO", log_file=str(tmp_path / "run.log"), distributed=True)
        debugs = loggers.get_instance("rank1.debug", log_level="DEBUG", log_file=str(tmp_path / "debug.log"))
    finally:
        for patch in patches:
            patch.stop()
    assert len(quiet.handlers) == 1
    assert quiet.handlers[0].level == logging.ERROR
    assert [handler.level for handler in logger.handlers] == [logging.ERROR, logging.INFO]
    assert sorted(os.listdir(tmp_path)) == ["debug_me@here_device1_rank1.log", "run_me@here_device1_rank1.log"]
    assert len(debugs.handlers) == 2


@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO, logging.DEBUG])
def test_lines(loggers, capsys, tmp_path, level):
    logger = loggers.get_instance(f"console {level}", log_level=level)
    logger.log(level=level, msg="welcome")
    name = logging.getLevelName(level)
    out = capsys.readouterr().out
    assert re.fullmatch(CONSOLE_TIME + rf" - mmengine - (.*){name}(.*) - welcome\n", out)
    logger = loggers.get_instance(f"file {level}", log_level=level, log_file=tmp_path / "run.log")
    logger.log(level=level, msg="welcome")
    assert re.fullmatch(FILE_TIME + rf" - mmengine - {name} - welcome\n", (tmp_path / "run.log").read_text())


def test_an_error_says_where_it_was_logged(loggers, capsys):
    logger = loggers.get_instance("errors", log_level="INFO")
    logger.error("welcome")
    line = sys._getframe().f_lineno - 1
    place = rf"{re.escape(__file__)} - test_an_error_says_where_it_was_logged - {line}"
    out = capsys.readouterr().out
    assert re.fullmatch(CONSOLE_TIME + rf" - mmengine - (.*)ERROR(.*) - {place} - welcome\n", out)


def test_a_warning_is_said_once(loggers, capsys):
    logger = loggers.get_instance("warnings", log_level="INFO")
    for _ in range(3):
        logger.warning("careful")
        logger.info("go on")
    out = capsys.readouterr().out
    assert (out.count("careful"), out.count("go on")) == (1, 3)


def test_set_level(loggers, capsys):
    logger = loggers.get_instance("levels")
    logger.info("hello")
    assert re.fullmatch(CONSOLE_TIME + r" - mmengine - (.*)INFO(.*) - hello\n", capsys.readouterr().out)
    logger.setLevel("WARNING")
    logger.info("hello")
    assert not capsys.readouterr().out
    logger.warning("hello")
    assert re.fullmatch(CONSOLE_TIME + r" - mmengine - (.*)WARNING(.*) - hello\n", capsys.readouterr().out)
    with pytest.raises(ValueError, match="LOUD"):
        logger.setLevel("LOUD")


def test_there_is_always_a_current_logger(loggers):
    assert loggers.get_current_instance().instance_name == "mmengine"
    other = loggers.get_instance("other")
    assert loggers.get_current_instance() is other


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (None, "FileHandler"),
        ({"type": "BaseRotatingHandler", "mode": "a"}, "BaseRotatingHandler"),
        ({"type": "RotatingFileHandler", "maxBytes": 1024}, "RotatingFileHandler"),
        ({"type": "TimedRotatingFileHandler", "when": "MIDNIGHT", "interval": 1, "backupCount": 365}, None),
        ({"type": "WatchedFileHandler"}, "WatchedFileHandler"),
    ],
)
def test_file_handlers(loggers, tmp_path, settings, kind):
    logger = loggers.get_instance("handlers", log_file=tmp_path / "run.log", file_handler_cfg=settings)
    assert type(logger.handlers[-1]).__name__ == (kind or "TimedRotatingFileHandler")


def test_an_unknown_file_handler(loggers, tmp_path):
    for wrong in ({"type": "Tape"}, {"type": "StreamHandler"}):
        with pytest.raises(ValueError, match=r"logging\.handlers"):
            loggers.get_instance("wrong", log_file=tmp_path / "run.log", file_handler_cfg=wrong)


def test_device_id():
    from mmengine.logging.logger import _get_device_id

    cases = [
        ({"LOCAL_RANK": "0"}, 0),
        ({"LOCAL_RANK": "1"}, 1),
        ({"LOCAL_RANK": "0", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, 0),
        ({"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "1,0,2,3"}, 0),
        ({"LOCAL_RANK": "2", "CUDA_VISIBLE_DEVICES": "1,0,3"}, 3),
        ({"LOCAL_RANK": "0", "CUDA_VISIBLE_DEVICES": "MIG-GPU-a,MIG-GPU-b"}, "MIG-GPU-a"),
    ]
    for environ, device in cases:
        with (
            mock.patch.dict(os.environ, environ),
            mock.patch("torch.cuda.is_available", return_value=True),
            mock.patch("torch.cuda.device_count", return_value=4),
        ):
            assert _get_device_id() == device
    with mock.patch.dict(os.environ, cases[4][0]), mock.patch("torch.cuda.is_available", return_value=False):
        assert _get_device_id() == 2


def test_print_log(loggers, capsys):
    from mmengine.logging import print_log

    print_log("welcome", logger=None)
    assert capsys.readouterr().out == "welcome\n"
    print_log("welcome", logger="silent")
    assert capsys.readouterr().out == ""
    logger = loggers.get_instance("test_print_log")
    for target in (logger, "current", "test_print_log"):
        print_log("welcome", logger=target)
        assert capsys.readouterr().out.endswith(" - welcome\n")
    print_log("welcome", logger=logger, level=logging.DEBUG)
    assert capsys.readouterr().out == ""
    with pytest.raises(TypeError):
        print_log("welcome", logger=0)
    with pytest.raises(ValueError, match="nobody"):
        print_log("welcome", logger="nobody")


def test_formatter():
    from mmengine.logging.logger import FilterDuplicateWarning, MMFormatter

    record = logging.LogRecord("x", logging.INFO, "here.py", 3, "said %d", (1,), None, func="f")
    plain = MMFormatter(color=False, datefmt="%H")
    assert re.fullmatch(r"\d\d - x - INFO - said 1", plain.format(record))
    record.levelno, record.levelname = logging.ERROR, "ERROR"
    assert re.fullmatch(r"\d\d - x - ERROR - here.py - f - 3 - said 1", plain.format(record))
    with pytest.raises(AssertionError):
        MMFormatter(color=False, blink=True)
    assert FilterDuplicateWarning().filter(record)

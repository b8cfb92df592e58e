"""The helpers of mmcv.utils through the face; with the marker `mmcv1` the same on MMCV 1.7.2."""

import io
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn


def says(is_peer, text):
    """What the message of an error of ours must hold; of MMCV's only the type is compared."""
    return ".*" if is_peer else text


def test_casts_and_sequences(mmcv, is_peer):
    utils = mmcv.utils
    assert utils.list_cast(["1", 2], int) == [1, 2]
    assert utils.tuple_cast([1, 2], str) == ("1", "2")
    assert list(utils.iter_cast((1,), float)) == [1.0]
    for arguments in ((1, str), ([1], "str")):
        with pytest.raises(TypeError, match=says(is_peer, "must be")):
            utils.iter_cast(*arguments)
    assert utils.is_seq_of([1, 2.0], (int, float))
    assert not utils.is_seq_of([1, "a"], int)
    assert not utils.is_seq_of({1}, int)
    assert utils.is_list_of([1], int)
    assert not utils.is_list_of((1,), int)
    assert utils.is_tuple_of((1,), int)
    with pytest.raises(AssertionError):
        utils.is_seq_of([1], int, seq_type=7)
    assert utils.slice_list([1, 2, 3, 4], 2) == [[1, 2], [3, 4]]
    assert utils.slice_list([1, 2, 3], [1, 0, 2]) == [[1], [], [2, 3]]
    for lens, kind in ((3, AssertionError), ([1, 2], ValueError), ("2", TypeError)):
        with pytest.raises(kind):
            utils.slice_list([1, 2, 3, 4], lens)
    assert utils.concat_list([[1], [], [2, 3]]) == [1, 2, 3]
    assert utils.misc.to_2tuple(1) == (1, 1)
    assert utils.misc.to_ntuple(3)("ab") == "ab"
    assert utils.is_str("a")
    assert not utils.is_str(b"a")


def test_requirements(mmcv, capsys):
    utils = mmcv.utils

    @utils.check_prerequisites(["a", "b", "c"], lambda item: item == "b")
    def work():
        return "done"

    with pytest.raises(RuntimeError):
        work()
    assert capsys.readouterr().out == (
        'Prerequisites "a, c" are required in method "work" but not found, please install them first.\n'
    )
    assert utils.requires_package("json")(lambda: 1)() == 1
    with pytest.raises(RuntimeError):
        utils.requires_package(["json", "no_such_package"])(work)()
    with pytest.raises(RuntimeError):
        utils.requires_executable("no-such-program")(work)()
    assert utils.requires_executable("python3")(lambda: 1)() == 1


def test_imports_from_strings(mmcv, is_peer):
    load = mmcv.utils.import_modules_from_strings
    assert load("os.path") is os.path
    assert load(["sys", "json"]) == [sys, json]
    assert load(None) is None
    for wrong in ({"a": 1}, [1]):
        with pytest.raises(TypeError):
            load(wrong)
    with pytest.raises(ImportError, match=says(is_peer, "cannot import 'no_such_module_x': No module named")):
        load("no_such_module_x")
    with pytest.warns(UserWarning, match="no_such_module_x"):
        assert load(["sys", "no_such_module_x"], allow_failed_imports=True) == [sys, None]


def test_deprecated_arguments_and_overridden_methods(mmcv):
    @mmcv.utils.deprecated_api_warning({"old": "new"}, cls_name="Class")
    def call(new, other=1):
        return new, other

    with pytest.warns(DeprecationWarning, match='"old" is deprecated in `Class.call`, please use "new" instead'):
        assert call(old=5) == (5, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call(5, other=2) == (5, 2)
    with pytest.raises(AssertionError):
        call(old=1, new=2)

    class Base:
        def a(self): ...

        def b(self): ...

    class Child(Base):
        def a(self): ...

    overridden = mmcv.utils.is_method_overridden
    assert overridden("a", Base, Child)
    assert overridden("a", Base, Child())
    assert not overridden("b", Base, Child)
    with pytest.raises(AssertionError):
        overridden("a", Base(), Child)
    assert mmcv.utils.has_method(Child(), "a")
    assert not mmcv.utils.has_method(Child(), "c")


def test_paths(mmcv, is_peer, tmp_path):
    utils = mmcv.utils
    utils.mkdir_or_exist("")
    for _ in range(2):
        utils.mkdir_or_exist(str(tmp_path / "deep" / "er"))
    for name in ("a.txt", "B.TXT", ".hidden", "deep/c.txt", "deep/er/d.bin"):
        (tmp_path / name).write_text(name)
    assert set(utils.scandir(tmp_path)) == {"a.txt", "B.TXT"}
    assert set(utils.scandir(str(tmp_path), suffix=".txt", recursive=True)) == {"a.txt", "deep/c.txt"}
    found = set(utils.scandir(tmp_path, suffix=(".TXT", ".bin"), recursive=True, case_sensitive=False))
    assert found == {"a.txt", "B.TXT", "deep/c.txt", "deep/er/d.bin"}
    for arguments in ((1,), (tmp_path, 1)):
        with pytest.raises(TypeError, match=says(is_peer, "must be a str")):
            utils.scandir(*arguments)
    for _ in range(2):
        utils.symlink(str(tmp_path / "a.txt"), str(tmp_path / "link"))
    with pytest.raises(FileExistsError):
        utils.symlink(str(tmp_path / "a.txt"), str(tmp_path / "link"), overwrite=False)
    with utils.fopen(tmp_path / "link") as file:
        assert file.read() == "a.txt"
    with pytest.raises(ValueError, match="filepath"):
        utils.fopen(1)
    utils.check_file_exist(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match=r'file ".*nothing" does not exist'):
        utils.check_file_exist(tmp_path / "nothing")
    assert utils.is_filepath(Path("x"))
    assert not utils.is_filepath(0)
    (tmp_path / ".mark").mkdir()
    root = utils.path.find_vcs_root
    assert root(tmp_path / "deep" / "er" / "d.bin", markers=(".mark",)) == str(tmp_path)
    assert root(tmp_path / "deep", markers=("no_such_marker_anywhere",)) is None


def twice(x, by=2):
    return x * by


def test_progress(mmcv, is_peer):
    now = [100.0]
    with (
        mock.patch("mmcv.utils.timer.time", side_effect=lambda: now[0]),
        mock.patch.dict(os.environ, {"COLUMNS": "80", "LINES": "24"}),
    ):
        out = io.StringIO()
        bar = mmcv.ProgressBar(10, bar_width=20, file=out)
        assert out.getvalue() == f"[{' ' * 20}] 0/10, elapsed: 0s, ETA:"
        now[0] += 1
        bar.update(2)
        assert out.getvalue().endswith(f"\r[>>>>{' ' * 16}] 2/10, 2.0 task/s, elapsed: 1s, ETA:     4s")
        os.environ["COLUMNS"] = "50"
        bar.update()
        assert out.getvalue().endswith("\r[>   ] 3/10, 3.0 task/s, elapsed: 1s, ETA:     2s")
        out = io.StringIO()
        bar = mmcv.ProgressBar(bar_width=20, file=out, start=False)
        assert out.getvalue() == ""
        bar.start()
        now[0] += 2
        bar.update()
        assert out.getvalue() == "completed: 0, elapsed: 0scompleted: 1, elapsed: 2s, 0.5 tasks/s"
    out = io.StringIO()
    assert mmcv.track_progress(twice, [1, 2], file=out, by=3) == [3, 6]
    assert mmcv.track_progress(twice, (iter([1, 2]), 2), file=out) == [2, 4]
    assert list(mmcv.track_iter_progress([1, 2], file=out)) == [1, 2]
    assert out.getvalue().count("2/2") == 3
    assert out.getvalue().endswith("\n")
    with pytest.raises(TypeError):
        mmcv.track_progress(twice, 7, file=out)
    with pytest.raises(AssertionError):
        mmcv.track_progress(twice, (7, 2), file=out)


@pytest.mark.parametrize("settings", [{}, {"keep_order": False}, {"skip_first": True, "chunksize": 1}])
def test_parallel_progress(mmcv, settings):
    out = io.StringIO()
    results = mmcv.track_parallel_progress(abs, [-1, -2, 3, 4], 2, file=out, **settings)
    assert sorted(results) == [1, 2, 3, 4]
    assert out.getvalue().endswith("\n")
    with pytest.raises(TypeError):
        mmcv.track_parallel_progress(abs, [1], 1, initializer=twice, initargs=[1], file=out)


def test_timers(mmcv, is_peer, capsys):
    now = [5.0]
    with mock.patch("mmcv.utils.timer.time", side_effect=lambda: now[0]):
        timer = mmcv.Timer(start=False)
        assert not timer.is_running
        for question in (timer.since_start, timer.since_last_check):
            with pytest.raises(mmcv.TimerError, match="timer is not running"):
                question()
        timer.start()
        now[0] += 1.5
        assert timer.since_last_check() == 1.5
        now[0] += 1
        assert (timer.since_start(), timer.since_last_check()) == (2.5, 0)
        with mmcv.Timer(print_tmpl="took {:.1f}"):
            now[0] += 3
        assert capsys.readouterr().out == "took 3.0\n"
        assert mmcv.check_time("here") == 0
        now[0] += 2
        assert mmcv.check_time("here") == 2


@pytest.fixture
def loggers(mmcv):
    """The loggers that a test sets up are taken away again."""
    known = mmcv.utils.logging.logger_initialized
    before = dict(known)
    known.clear()
    yield known
    for name in known:
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
    known.clear()
    known.update(before)


def test_loggers(mmcv, loggers, tmp_path, capsys):
    with (
        mock.patch("torch.distributed.get_rank", return_value=0),
        mock.patch("torch.distributed.is_initialized", return_value=True),
    ):
        logger = mmcv.get_logger("rank0.face", log_file=str(tmp_path / "a.log"))
    assert logger.level == logging.INFO
    console, file = logger.handlers
    assert isinstance(console, logging.StreamHandler)
    assert isinstance(file, logging.FileHandler)
    assert console.level == file.level == logging.INFO
    assert console.formatter._fmt == "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
    assert mmcv.get_logger("rank0.face") is logger
    assert mmcv.get_logger("rank0.face.child").handlers == []
    assert len(logger.handlers) == 2
    with (
        mock.patch("torch.distributed.get_rank", return_value=1),
        mock.patch("torch.distributed.is_initialized", return_value=True),
    ):
        other = mmcv.get_logger("rank1.face", log_file=str(tmp_path / "b.log"))
    assert other.level == logging.ERROR
    assert len(other.handlers) == 1
    mmcv.print_log("to the file", logger="rank0.face")
    assert "rank0.face - INFO - to the file" in (tmp_path / "a.log").read_text()
    capsys.readouterr()
    mmcv.print_log("to stdout")
    mmcv.print_log("to nobody", logger="silent")
    assert capsys.readouterr().out == "to stdout\n"
    with pytest.raises(TypeError):
        mmcv.print_log("x", logger=7)


def test_versions(mmcv):
    digits = mmcv.digit_version
    assert digits("1.2.3") == (1, 2, 3, 0, 0, 0)
    assert digits("1.2.3rc1") == (1, 2, 3, 0, -1, 1)
    assert digits("v1.1.5", length=2) == (1, 1, 0, 0)
    assert digits("1.5.0+cuda90_cudnn7.6.3_lms") == digits("1.5")
    ascending = ["1.0.0dev", "1.0.0a", "1.0.0a1", "1.0.0b", "1.0.0rc", "1.0.0rc1", "1.0.0", "1.0.0post", "1.0.0post1"]
    found = [digits(version) for version in ascending]
    assert found == sorted(found)
    assert len(set(found)) == len(found)
    assert digits("1.0-2") == digits("1.0.post2")
    assert digits(torch.__version__)[:2] == tuple(int(part) for part in torch.__version__.split(".")[:2])
    with pytest.raises(AssertionError):
        digits("parrots")
    assert torch.__version__ == mmcv.utils.TORCH_VERSION
    assert mmcv.version.parse_version_info("1.3.0") == (1, 3, 0, 0, 0, 0)
    assert mmcv.version.parse_version_info("2.0.0rc1") == (2, 0, 0, 0, "rc", 1)
    with mock.patch("mmcv.utils.version_utils._minimal_ext_cmd", return_value=b"3b46d33e90c397869ad5\n"):
        assert mmcv.get_git_hash() == "3b46d33e90c397869ad5"
        assert mmcv.get_git_hash(digits=6) == "3b46d3"
        with pytest.raises(TypeError):
            mmcv.get_git_hash(digits="6")
    with mock.patch("subprocess.Popen", side_effect=OSError):
        assert mmcv.get_git_hash("n/a") == "n/a"


def test_facts_of_machine_and_torch(mmcv, is_peer):
    facts = mmcv.collect_env()
    for name in ("sys.platform", "Python", "CUDA available", "GCC", "PyTorch", "PyTorch compiling details", "OpenCV"):
        assert name in facts
    assert facts["MMCV"] == mmcv.__version__ == "1.7.2"
    assert "MMCV Compiler" in facts
    utils = mmcv.utils
    assert issubclass(nn.BatchNorm2d, utils._BatchNorm)
    assert issubclass(nn.InstanceNorm1d, utils._InstanceNorm)
    assert issubclass(nn.Conv2d, utils._ConvNd)
    assert issubclass(utils.SyncBatchNorm, nn.SyncBatchNorm)
    assert torch.cuda.is_available() == utils.IS_CUDA_AVAILABLE
    assert not utils.IS_MLU_AVAILABLE
    assert not utils.is_rocm_pytorch()
    assert utils.get_build_config() == torch.__config__.show()
    assert utils.is_jit_tracing() is False
    assert utils.jit(coderize=True)(twice)(2) == 4
    assert utils.skip_no_elena(twice)(2) == 4
    rows, columns = utils.torch_meshgrid(torch.arange(2), torch.arange(3))
    assert rows[:, 0].tolist() == [0, 1]
    assert columns[0].tolist() == [0, 1, 2]
    if not is_peer:
        with pytest.raises(AttributeError, match="has no attribute 'NoExtension'"):
            _ = utils.parrots_wrapper.NoExtension


def test_checks_for_tests(mmcv, tmp_path, capsys):
    utils = mmcv.utils
    assert utils.assert_dict_contains_subset({"a": 1, "b": torch.ones(2)}, {"b": torch.ones(2)})
    assert not utils.assert_dict_contains_subset({"a": 1}, {"a": 2})
    assert not utils.assert_dict_contains_subset({"b": torch.ones(2)}, {"b": torch.zeros(2)})
    assert utils.assert_attrs_equal(nn.Linear(2, 3), {"in_features": 2})
    assert not utils.assert_attrs_equal(nn.Linear(2, 3), {"width": 2})
    assert utils.assert_dict_has_keys({"a": 1, "b": 2}, ["a"])
    assert utils.assert_keys_equal(["a", "b"], ["b", "a"])
    assert utils.assert_is_norm_layer(nn.GroupNorm(1, 2))
    assert not utils.assert_is_norm_layer(nn.Linear(1, 1))
    layer = nn.Linear(2, 2)
    assert not utils.assert_params_all_zeros(layer)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    assert utils.assert_params_all_zeros(layer)
    script = tmp_path / "hello.py"
    script.write_text("import sys\nprint(__name__, sys.argv[1:])\n")
    utils.check_python_script(f"python {script} zz")
    assert capsys.readouterr().out == "__main__ ['zz']\n"


def test_weights_by_url_are_read_without_running_code(mmcv, is_peer, tmp_path):
    if is_peer:
        pytest.skip("MMCV gives the download to torch")
    torch.save({"state_dict": {"w": torch.ones(2)}}, tmp_path / "net.pth")
    url = (tmp_path / "net.pth").as_uri()
    folder = tmp_path / "kept"
    for _ in range(2):
        assert mmcv.utils.load_url(url, str(folder), progress=False)["state_dict"]["w"].tolist() == [1, 1]
    assert [path.name for path in folder.iterdir()] == ["net.pth"]

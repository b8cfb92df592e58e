"""Annotations as bytes in a file that processes share."""

from __future__ import annotations

import datetime
import gc
import math
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainwright.data import node_files, records
from trainwright.data.node_files import MappedArray, MappedFile, RunFolder
from trainwright.data.records import store_records, unpack

Point = namedtuple("Point", "x y")
VALUES = [
    {},
    {"s": "\u00e4", "b": b"\0\xff", "none": None, None: 1, 3: "int key", (1, "a"): frozenset({1, 2})},
    {"f": [0.1, -0.0, math.inf, 5e-324, 2**-1074], "i": [2**70, -1, True]},
    {"set": {1, "a"}, "tuple": (1, (2,)), "nested": {"a": [{"b": ({"c": []},)}]}},
    {"array": np.arange(6, dtype=np.float16).reshape(2, 3), "objects": np.array(["a", None], object), "n": np.int8(3)},
    {"t": torch.arange(3), "od": OrderedDict(a=1), "p": Point(1, 2), "path": Path("a/b"), "date": datetime.date.max},
    {"complex": 1j, "range": range(3), "dtype": np.dtype("i4"), "bytes": bytearray(b"x"), "slice": slice(1, 2)},
]


def stored(values: list[Any], run: str = "a") -> tuple[MappedArray, MappedArray]:
    data, ends = store_records(values, run)
    assert isinstance(data, MappedArray)
    return data, ends


def read(data: Any, ends: Any) -> list[Any]:
    return [unpack(data[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def test_every_value_comes_back(node):
    found = read(*stored(VALUES))
    assert repr(found) == repr(VALUES)
    assert type(found[5]["od"]) is OrderedDict
    assert found[4]["array"].dtype == np.float16
    assert math.copysign(1, found[2]["f"][1]) == -1


def test_the_bytes_are_pickles_one_behind_the_other(node):
    values = [{"n": n} for n in range(50)]
    data, ends = stored(values)
    packed = [pickle.dumps(value, protocol=4) for value in values]
    assert data.tobytes() == b"".join(packed)
    assert ends.tolist() == np.cumsum([len(one) for one in packed]).tolist()
    assert (data.dtype, ends.dtype) == (np.uint8, np.int64)
    with pytest.raises(ValueError, match="read-only"):
        data[0] = 1


def test_equal_lists_share_a_file_and_others_do_not(node):
    first, same, other = stored([1, 2])[0], stored([1, 2])[0], stored([1, 3])[0]
    assert first.file is same.file
    assert first.file.path != other.file.path
    assert stored([1, 2], run="b")[0].file.path != first.file.path


def test_a_file_goes_with_its_last_array_and_the_folder_with_its_last_file(node):
    memory, _ = node
    first, second = stored([1]), stored([2])
    folder = next(memory.iterdir())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.glob("*.data"))) == 2
    part = first[0][2:]
    del first
    assert len(list(folder.glob("*.data"))) == 2
    del part, second
    assert not folder.exists()


def test_a_copy_and_a_part(node):
    data, _ = stored([1, 2, 3])
    part = data[3:]
    file, offset = part.source()
    assert (file, offset) == (data.file, 3)
    assert data.copy().source() is None
    assert data[::2].source() is None
    import copy

    assert copy.deepcopy(data) is data
    assert type(copy.deepcopy(data.copy())) is np.ndarray
    kept = pickle.loads(pickle.dumps(part))
    assert type(kept) is np.ndarray
    assert kept.tolist() == part.tolist()


# where there is no room -----------------------------------------------------------------------------------------------


def test_disk_where_memory_is_too_small(node, monkeypatch):
    memory, disk = node
    values = ["x" * 1000] * 20
    monkeypatch.setattr(records, "_BLOCK", 1 << 12)
    usage = shutil.disk_usage(memory)
    small = usage._replace(free=16000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: small if str(memory) in place else usage)
    data, ends = stored(values)
    assert data.file.path.startswith(str(disk))
    assert not list(memory.glob("*/*.data")) + list(memory.glob("*/*.part")) + list(disk.glob("*/*.part"))
    assert read(data, ends) == values
    again, _ = stored(values)
    assert again.file is data.file


def test_a_full_disk_leaves_the_records_in_memory(node, monkeypatch, capsys):
    import errno

    def full(self, block):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(records._Writer, "_write", full)
    data, ends = store_records([1, "b"], "a")
    assert read(data, ends) == [1, "b"]
    assert type(data) is np.ndarray
    assert "cannot be shared between processes, every one keeps its own: [Errno 28]" in capsys.readouterr().err


def test_a_write_that_finds_the_disk_full_says_where(node):
    class Full:
        def write(self, block):
            raise OSError(28, "No space left on device")

        def tell(self):
            return 0

        def close(self):
            pass

    folder = RunFolder.open("a")
    writer = records._Writer(folder)
    writer.file.close()
    writer.file = Full()
    with pytest.raises(OSError, match=r"memory/trainwright-\d+-a became full while it was written"):
        writer._write(b"x")
    writer.discard()


def test_a_folder_that_others_may_enter_is_not_used(node, capsys):
    memory, _ = node
    trap = memory / f"trainwright-{os.geteuid()}-a"
    trap.mkdir(mode=0o755)
    trap.chmod(0o755)
    data, ends = store_records([1], "a")
    assert read(data, ends) == [1]
    assert f"{trap} exists and is not a private folder of this user" in capsys.readouterr().err
    trap.rmdir()


# other processes ------------------------------------------------------------------------------------------------------


def _fork(func, *args):
    process = multiprocessing.get_context("fork").Process(target=func, args=args)
    process.start()
    return process


def test_a_forked_process_leaves_its_parents_file(node):
    data, ends = stored([1, 2])

    def child() -> None:
        assert read(data, ends) == [1, 2]
        gc.collect()

    process = _fork(child)
    process.join()
    assert process.exitcode == 0
    assert Path(data.file.path).exists()


def test_a_process_that_ends_takes_its_files_along(node):
    memory, disk = node
    keep: list[Any] = []

    def child() -> None:
        keep.append(stored([5]))
        assert list(memory.iterdir())

    process = _fork(child)
    process.join()
    assert process.exitcode == 0
    assert not [*memory.iterdir(), *disk.iterdir()]


def test_an_interpreter_that_ends_takes_its_files_along(tmp_path):
    code = (
        "import sys, os, tempfile; from trainwright.data import node_files; from trainwright.data.records import *\n"
        "node_files.SHARED_MEMORY = tempfile.tempdir = sys.argv[1]\n"
        "kept = store_records([1, 2], 'a'); print(os.listdir(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "trainwright-" in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_last_process_removes_the_file(node):
    data, ends = stored([1, 2])
    path, begun, go = data.file.path, multiprocessing.Event(), multiprocessing.Event()

    def child() -> None:
        folder = RunFolder.open("a")
        file = MappedFile.open(path, folder)
        begun.set()
        go.wait(20)
        assert os.path.exists(path)
        assert bytes(file.mapping[:2])

    process = _fork(child)
    assert begun.wait(20)
    del data, ends
    assert os.path.exists(path)
    go.set()
    process.join()
    assert process.exitcode == 0
    assert not os.path.exists(path)


def test_what_a_killed_run_left_is_removed_by_the_next(node):
    memory, disk = node
    begun = multiprocessing.Event()
    keep: list[Any] = []

    def child() -> None:
        keep.append(stored([1], run="killed"))
        begun.set()
        signal.pause()

    process = _fork(child)
    assert begun.wait(20)
    living = stored([1], run="b")
    assert len(list(memory.iterdir())) == 2, "a run that lives is left alone"
    del living
    process.kill()
    process.join()
    assert len(list(memory.iterdir())) == 1
    data = stored([1], run="b")
    assert [path.name for path in memory.iterdir()] == [f"trainwright-{os.geteuid()}-b"]
    assert [path.name for path in disk.iterdir()] == [f"trainwright-{os.geteuid()}-b"]
    del data


def test_a_folder_of_a_run_that_was_killed_before_it_had_locked_it_is_removed(node):
    memory, _ = node
    (memory / f"trainwright-{os.geteuid()}-p1").mkdir(0o700)
    data = stored([1], run="b")
    assert [path.name for path in memory.iterdir()] == [f"trainwright-{os.geteuid()}-b"]
    del data


def test_the_number_of_a_process_may_come_again(node):
    memory, _ = node
    stale = memory / f"trainwright-{os.geteuid()}-a"
    stale.mkdir(mode=0o700)
    (stale / "old.head").write_bytes(b"x")
    data, _ = stored([1])
    assert not (stale / "old.head").exists()
    assert data.file.path.startswith(str(stale))


def test_a_lock_is_free_when_its_holder_dies(node):
    folder = RunFolder.open("a")
    begun = multiprocessing.Event()

    def child() -> None:
        with RunFolder.open("a").locked("key"):
            begun.set()
            signal.pause()

    process = _fork(child)
    assert begun.wait(20)
    process.kill()
    with folder.locked("key"):
        process.join()


def test_a_lock_keeps_others_out(node):
    folder = RunFolder.open("a")
    counter, processes = multiprocessing.Value("i", 0, lock=False), []

    def child() -> None:
        own = RunFolder.open("a")
        for _ in range(200):
            with own.locked("key"):
                counter.value += 1

    with folder.locked("key"):
        processes = [_fork(child) for _ in range(3)]
        assert counter.value == 0
    for process in processes:
        process.join()
    assert counter.value == 600


def _spawned(data: Any, part: Any, pipe: Any) -> None:
    shares = all(isinstance(array, MappedArray) and array.source() is not None for array in (data, part))
    pipe.send((shares, read_maps(data.source()[0].path), data.tolist(), part.tolist()))
    pipe.close()


def read_maps(path: str) -> bool:
    return path in Path("/proc/self/maps").read_text()


def test_a_spawned_process_maps_the_file(node):
    data, _ = stored([1, 2, 3])
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_spawned, args=(data, data[4:], sender))
    process.start()
    assert receiver.poll(60)
    assert receiver.recv() == (True, True, data.tolist(), data[4:].tolist())
    process.join()
    assert process.exitcode == 0
    receiver.close()
    sender.close()
    assert os.path.exists(data.file.path)


def test_an_unwritable_memory_is_passed_over(monkeypatch, tmp_path):
    monkeypatch.setattr(node_files, "SHARED_MEMORY", str(tmp_path / "none"))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = stored([1])[0]
    assert data.file.path.startswith(str(tmp_path / "trainwright-"))
    del data
    assert not list(tmp_path.iterdir())

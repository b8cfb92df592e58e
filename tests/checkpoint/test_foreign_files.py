"""Files of MMEngine, MMCV, detectron2 and NumPy's users: read as data."""

import argparse
import io
import pickle
import sys
from collections import OrderedDict, defaultdict, deque
from pathlib import Path, PurePosixPath

import fsspec
import numpy as np
import pytest
import torch
from foreign_files import History, classes, linear_state, mmcv_tree

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import check_file, read_checkpoint, read_file, read_meta, weights_of, write_file
from trainwright.checkpoint.kinds import kind_of
from trainwright.testing.toys import differences

REAL = Path(__file__).parent / "data" / "mmengine_0_10_7.pth"


def saved(path, value, **options):
    torch.save(value, path, **options)
    return str(path)


# MMEngine ---------------------------------------------------------------------------------------------------------


def test_a_real_file_of_mmengine(capsys):
    tree = read_file(REAL)
    assert kind_of(str(REAL), tree) == "MMEngine 0.10.7"
    assert tree["meta"]["dataset_meta"]["palette"].tolist() == [[220, 20, 60], [0, 0, 142]]
    assert (tree["meta"]["epoch"], tree["meta"]["iter"]) == (2, 8)
    assert tree["meta"]["cfg"] == "\n"
    loss = tree["message_hub"]["log_scalars"]["train/loss"]
    assert loss["values"].dtype == torch.float64
    assert loss["values"].shape == loss["counts"].shape == (8,)
    assert loss["max_length"] == 1_000_000
    assert tree["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.0085355, rel=1e-5)
    assert type(tree["param_schedulers"][0]["_last_value"][0]) is float
    assert tree["ema_state_dict"]["steps"].dtype == torch.int64
    said = capsys.readouterr().err
    assert said.count("was made by another tool") == 1
    assert "4 of HistoryBuffer, " in said


def test_it_becomes_a_file_that_torch_reads_safely(tmp_path):
    tree = read_file(REAL)
    write_file(tmp_path / "a.pth", tree)
    assert differences(torch.load(tmp_path / "a.pth", weights_only=True), tree) == []


def test_meta_and_the_check_before_a_run_need_no_conversion(capsys):
    assert read_meta(str(REAL))["iter"] == 8
    check_file(str(REAL))
    assert capsys.readouterr().err == ""


def test_places():
    tree = read_file(REAL, map_location="meta")
    assert tree["state_dict"]["fc.weight"].device.type == "meta"
    asked = []
    read_file(REAL, map_location=lambda storage, location: asked.append(location))
    assert set(asked) == {"cpu"}
    same = read_file(REAL, map_location={"cuda:0": "cpu"})
    assert differences(same, read_file(REAL)) == []
    assert differences(read_file(REAL, map_location=lambda storage, location: storage), same) == []


def test_a_url():
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/foreign-test/a.pth", REAL.read_bytes())
    try:
        assert differences(read_file("memory://foreign-test/a.pth"), read_file(REAL)) == []
    finally:
        memory.rm("/foreign-test", recursive=True)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}])
def test_histories(tmp_path, options):
    with classes(mmengine__logging__history_buffer__HistoryBuffer=History) as made:
        history = made.HistoryBuffer([0.5, 0.25])
        path = saved(tmp_path / "a.pth", {"message_hub": {"log_scalars": OrderedDict(loss=history)}}, **options)
    state = read_file(path)["message_hub"]["log_scalars"]["loss"]
    assert state["values"].tolist() == [0.5, 0.25]
    assert (state["counts"].tolist(), state["max_length"]) == ([1, 1], 100)


def test_the_functions_of_a_history_that_are_not_on_the_list_are_refused(tmp_path):
    with classes(mmengine__logging__history_buffer__HistoryBuffer=History) as made:
        history = made.HistoryBuffer([0.5])
        history.statistics_methods["worst"] = pytest.fail
        path = saved(tmp_path / "a.pth", {"h": history})
    with pytest.raises(CheckpointError, match="it names _pytest"):
        read_file(path)


# MMCV 1.x ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_file_of_mmcv(tmp_path, options):
    state = linear_state()
    path = saved(tmp_path / "latest.pth", mmcv_tree(state), **options)
    tree = read_file(path)
    assert kind_of(path, tree) == "MMCV 1.x 1.7.1"
    assert differences(dict(tree["state_dict"]), dict(state)) == []
    assert tree["meta"]["CLASSES"] == ("a", "b")
    assert tree["meta"]["PALETTE"].dtype == torch.uint8
    assert (tree["meta"]["seed"], type(tree["meta"]["seed"])) == (3, int)
    assert "import os" in tree["meta"]["config"]


def test_configs_become_dicts(tmp_path):
    with classes(mmcv__utils__config__ConfigDict=dict, addict__addict__Dict=dict, yacs__config__CfgNode=dict) as made:
        inner = made.ConfigDict(lr=0.1, steps=[made.Dict(a=1)])
        path = saved(tmp_path / "a.pth", {"cfg": inner, "node": made.CfgNode(b=2)})
    tree = read_file(path)
    assert tree == {"cfg": {"lr": 0.1, "steps": [{"a": 1}]}, "node": {"b": 2}}
    assert type(tree["cfg"]) is dict


# detectron2 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_of_arrays(tmp_path, protocol):
    model = {"stem.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.float32(2)}
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"model": model, "__author__": "x", "matching_heuristics": True}, protocol=protocol))
    check_file(str(path))
    tree = read_checkpoint(path)
    assert kind_of(str(path), tree) == "detectron2"
    assert torch.equal(weights_of(tree)["stem.weight"], torch.arange(6.0).view(2, 3))


def test_an_array_that_python_2_wrote(tmp_path):
    values = np.array([1.0, -2.0], dtype="<f4").tobytes()
    assert max(values) > 127
    body = (
        b"\x80\x02}U\x05modelq\x00}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x08" + values + b"tbss."
    )
    (tmp_path / "a.pkl").write_bytes(body)
    assert pickle.loads(body, encoding="latin-1")["model"]["w"].tolist() == [1, -2]
    assert read_file(tmp_path / "a.pkl")["model"]["w"].tolist() == [1, -2]


def test_a_pickle_that_holds_no_arrays_is_no_checkpoint(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": 1, "b": {"c": "d"}}))
    with pytest.raises(CheckpointError, match="nor is it a pickle of arrays"):
        read_file(tmp_path / "a.pkl")


# the values -------------------------------------------------------------------------------------------------------

ARRAY = np.arange(6, dtype=np.int16).reshape(2, 3)
VALUES = {
    "fortran": (np.asfortranarray(ARRAY), torch.from_numpy(ARRAY.copy())),
    "big endian": (ARRAY.astype(">i2"), torch.from_numpy(ARRAY.copy())),
    "empty": (np.zeros((0, 3), np.float32), torch.zeros(0, 3)),
    "text": (np.array(["a", "bc"]), ["a", "bc"]),
    "bytes array": (np.array([b"a", b"bc"]), [b"a", b"bc"]),
    "objects": (np.array(["a", None], dtype=object), ["a", None]),
    "bool": (np.bool_(True), True),
    "complex": (np.complex64(1 + 2j), 1 + 2j),
    "type": (np.dtype("float32"), "float32"),
    "namespace": (argparse.Namespace(lr=0.1, inner=argparse.Namespace(a=[1])), {"lr": 0.1, "inner": {"a": [1]}}),
    "path": (PurePosixPath("a/b.py"), "a/b.py"),
    "defaultdict": (defaultdict(list, a=[1]), {"a": [1]}),
    "deque": (deque([1, 2], maxlen=3), [1, 2]),
    "frozenset": (frozenset([1, 2]), {1, 2}),
    "set": ({1, 2}, {1, 2}),
    "bytes": (b"\x00\xff", b"\x00\xff"),
    "bytearray": (bytearray(b"\x00\xff"), b"\x00\xff"),
    "complex number": (1 + 2j, 1 + 2j),
    "size": (torch.Size([1, 2]), (1, 2)),
    "dtype": (torch.bfloat16, torch.bfloat16),
    "device": (torch.device("cuda", 1), "cuda:1"),
    "parameter": (torch.nn.Parameter(torch.ones(2)), torch.ones(2)),
    "plain": ([1, 2.5, "é", None, True, (1,), {"a": -1}, 2**70], [1, 2.5, "é", None, True, (1,), {"a": -1}, 2**70]),
    "ordered": (OrderedDict(b=1, a=2), OrderedDict(b=1, a=2)),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", VALUES)
def test_values(tmp_path, name, protocol):
    given, expected = VALUES[name]
    path = saved(tmp_path / "a.pth", {"x": given, "array": np.ones(1)}, pickle_protocol=protocol)
    got = read_file(path)["x"]
    assert type(got) is type(expected)
    assert differences({"x": got}, {"x": expected}) == []


@pytest.mark.parametrize("new_zip", [True, False])
@pytest.mark.parametrize(
    "dtype", ["float64", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "bool", "complex64", "float8_e4m3fn"]
)
def test_tensors(tmp_path, dtype, new_zip):
    if dtype.startswith("float8") and not new_zip:
        dtype = "float32"  # torch itself cannot read the others back in its old format
    whole = torch.arange(12).to(getattr(torch, dtype)).view(3, 4)
    given = {
        "w": whole,
        "view": whole[1:, ::2],
        "t": whole.t(),
        "none": whole[:0],
        "one": whole[0, 0],
        "np": np.ones(1),
    }
    tree = read_file(saved(tmp_path / "a.pth", given, _use_new_zipfile_serialization=new_zip))
    expected = {**given, "np": torch.ones(1, dtype=torch.float64)}
    raw = {k: v.clone().contiguous().view(-1).view(torch.uint8) if v.numel() else v.shape for k, v in tree.items()}
    same = {k: v.clone().contiguous().view(-1).view(torch.uint8) if v.numel() else v.shape for k, v in expected.items()}
    assert differences(raw, same) == []
    assert tree["view"].stride() == given["view"].stride()
    assert tree["w"].untyped_storage().data_ptr() == tree["view"].untyped_storage().data_ptr()


def test_the_versions_of_a_state_dict_come_along(tmp_path):
    state = torch.nn.BatchNorm1d(2).state_dict()
    tree = read_file(saved(tmp_path / "a.pth", {"state_dict": state, "n": np.ones(1)}))
    assert tree["state_dict"]._metadata == state._metadata


def test_what_stands_twice_stays_one(tmp_path):
    inner = [np.ones(1)]
    tree = read_file(saved(tmp_path / "a.pth", {"a": inner, "b": inner}))
    assert tree["a"] is tree["b"]


class Local:
    """A class that nobody else has."""


@pytest.mark.parametrize(
    "value", [Local(), Local, argparse.Namespace(x=Local()), torch.nn.Linear(1, 1), print, range(3)]
)
def test_other_objects_are_refused_by_name_and_with_the_knob(tmp_path, value):
    path = saved(tmp_path / "a.pth", {"n": np.ones(1), "x": value})
    with pytest.raises(CheckpointError, match="it names ") as caught:
        read_file(path)
    assert "trusted=True (trust_checkpoint=True in a config, --trust-checkpoint on the command line)" in str(
        caught.value
    )


def test_trust_reads_them(tmp_path, capsys):
    path = saved(tmp_path / "a.pth", {"n": np.ones(1), "x": Local()})
    assert isinstance(read_file(path, trusted=True)["x"], Local)
    assert "because you trust it" in capsys.readouterr().err


def test_a_trusted_file_whose_class_is_not_there_says_so(tmp_path, monkeypatch):
    torch.save({"state_dict": {}, "x": Local()}, tmp_path / "a.pth")
    monkeypatch.delattr(sys.modules[__name__], "Local")
    with pytest.raises(CheckpointError, match="of a class that cannot be imported here: .*Local.* on PYTHONPATH"):
        read_file(tmp_path / "a.pth", trusted=True)


def test_trust_is_not_used_where_it_is_not_needed(capsys):
    read_file(REAL, trusted=True)
    assert "because you trust it" not in capsys.readouterr().err


def test_damage_in_a_foreign_file_is_found(tmp_path):
    tree = {"w": torch.arange(256, dtype=torch.uint8), "n": np.ones(1)}
    data = bytearray(Path(saved(tmp_path / "a.pth", tree)).read_bytes())
    data[data.index(bytes(range(256))) + 100] ^= 1
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum"):
        read_file(tmp_path / "a.pth")


def test_a_cut_legacy_file(tmp_path):
    whole = Path(saved(tmp_path / "a.pth", {"w": torch.ones(9), "n": np.ones(1)}, _use_new_zipfile_serialization=False))
    data = whole.read_bytes()
    for length in (20, len(data) // 2, len(data) - 1):
        whole.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            read_file(whole)


def test_bytes_in_memory_give_the_same_as_a_file():
    from trainwright.checkpoint.foreign import read_foreign

    assert differences(read_foreign("x", io.BytesIO(REAL.read_bytes())), read_file(REAL)) == []

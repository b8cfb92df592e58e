"""The folder of one recorded step."""

import dataclasses
import json
import math
import os

import numpy as np
import pytest
import torch

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import StepRecord, read_step_record, write_step_record
from trainwright.checkpoint.step_record import read_batch, read_config, read_record
from trainwright.config import Config
from trainwright.testing.toys import differences

TREE = {"meta": {"iter": 7, "epoch": 1}, "state_dict": {"weight": torch.arange(3.0)}}
RECORD = StepRecord(
    iteration=7,
    epoch=1,
    batch_idx=3,
    reason="loss is nan",
    policy="stop",
    losses={"loss": float("nan"), "loss_size": 0.1 + 0.2, "loss_huge": float("-inf")},
    grad_norms={"": 1 / 3},
    sample_indices=[4, 2],
    seed=0,
)


def test_what_is_written_reads_back(tmp_path):
    batch = {"inputs": torch.randn(2, 3), "label": [1, 2], "mask": np.array([True, False])}
    path = write_step_record(tmp_path / "bad_steps" / "iter_7", TREE, RECORD, batch=batch, config=Config({"a": (1, 2)}))
    assert path == str(tmp_path / "bad_steps" / "iter_7")
    assert sorted(os.listdir(path)) == ["batch.pth", "config.py", "state.pth", "step.json"]
    assert os.listdir(tmp_path / "bad_steps") == ["iter_7"]
    tree, record = read_step_record(path)
    assert differences(tree, TREE) == []
    assert math.isnan(record.losses.pop("loss"))
    expected = dataclasses.replace(RECORD, losses={k: v for k, v in RECORD.losses.items() if k != "loss"})
    assert record == expected
    assert differences(read_batch(path)["batch"], {**batch, "mask": torch.tensor([True, False])}) == []
    assert read_config(path).a == (1, 2)


def test_numbers_are_written_for_people_and_exactly(tmp_path):
    write_step_record(tmp_path / "step", TREE, RECORD)
    values = json.loads((tmp_path / "step" / "step.json").read_text())
    assert values["format"] == 1
    assert values["losses"]["loss_size"] == {"text": "0.30000000000000004", "hex": "0x1.3333333333334p-2"}
    assert values["losses"]["loss"] == {"text": "nan", "hex": "nan"}
    assert values["grad_norms"] == {"": {"text": "0.3333333333333333", "hex": "0x1.5555555555555p-2"}}


def test_the_record_says_where_the_run_worked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    record = dataclasses.replace(StepRecord(0, 0, 0, "asked", "stop", {}))
    assert record.folder == str(tmp_path)
    assert str(tmp_path / "modules") in record.import_paths
    assert os.path.dirname(json.__file__) not in record.import_paths
    assert record.torch_version == torch.__version__


def test_folders_of_config_and_bases_are_kept(tmp_path):
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_" / "model.py").write_text("a = 1\n")
    (tmp_path / "child.py").write_text('_base_ = "_base_/model.py"\n')
    write_step_record(tmp_path / "step", TREE, RECORD, config=Config.fromfile(tmp_path / "child.py"))
    assert read_record(tmp_path / "step").config_folders == [str(tmp_path), str(tmp_path / "_base_")]


class Sample:
    pass


def test_what_is_no_plain_data_is_left_out_and_named(tmp_path):
    config = Config({"model": {"type": "Toy", "act": lambda x: x}})
    path = write_step_record(tmp_path / "step", TREE, RECORD, batch=[1, Sample()], config=config)
    assert sorted(os.listdir(path)) == ["state.pth", "step.json"]
    record = read_record(path)
    assert record.batch_missing.startswith("batch[1] is a ")
    assert record.batch_missing.endswith("Sample, which is neither a tensor nor plain data")
    assert record.config_missing == "it holds objects that are no plain data (model.act: function)"
    assert read_batch(path) is None
    assert read_config(path) is None
    without = read_record(write_step_record(tmp_path / "step", TREE, RECORD))
    assert without.batch_missing == "none was given"
    assert without.config_missing == "the runner was made from objects, without a config"


def test_an_unused_function_of_a_config_does_no_harm(tmp_path):
    config = Config({"a": 1, "helper": lambda x: x})
    path = write_step_record(tmp_path / "step", TREE, RECORD, config=config)
    assert read_record(path).config_missing is None
    assert dict(read_config(path)) == {"a": 1}


def test_classes_of_a_config_come_back_as_imports(tmp_path):
    path = write_step_record(tmp_path / "step", TREE, RECORD, config=Config({"model": {"type": torch.nn.ReLU}}))
    assert read_config(path)._to_lazy_dict()["model"]["type"].dotted.endswith("ReLU")


def test_a_later_record_replaces_an_earlier_one(tmp_path):
    write_step_record(tmp_path / "step", TREE, RECORD, batch=[1])
    write_step_record(tmp_path / "step", TREE, dataclasses.replace(RECORD, reason="grad_norm is inf"))
    assert read_record(tmp_path / "step").reason == "grad_norm is inf"
    assert os.listdir(tmp_path) == ["step"]
    assert not (tmp_path / "step" / "batch.pth").exists()


def test_a_failed_write_leaves_what_there_was(tmp_path):
    write_step_record(tmp_path / "step", TREE, RECORD)
    with pytest.raises(CheckpointError, match="Sample"):
        write_step_record(tmp_path / "step", {**TREE, "extra": Sample()}, RECORD)
    assert os.listdir(tmp_path) == ["step"]
    assert read_record(tmp_path / "step").reason == "loss is nan"


def test_a_rename_that_fails_puts_the_earlier_record_back(tmp_path, monkeypatch):
    write_step_record(tmp_path / "step", TREE, RECORD)
    rename = os.rename

    def refuse(old, new):
        if "-new-" in str(old):
            raise OSError("the disk refuses")
        rename(old, new)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="the disk refuses"):
        write_step_record(tmp_path / "step", TREE, dataclasses.replace(RECORD, reason="other"))
    assert os.listdir(tmp_path) == ["step"]
    assert read_record(tmp_path / "step").reason == "loss is nan"


def test_what_is_no_record(tmp_path):
    with pytest.raises(CheckpointError, match=r"STEP_DIR .* does not exist\. It is the folder that the guard names"):
        read_record(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is a file"):
        read_record(tmp_path / "file")
    write_step_record(tmp_path / "bad_steps" / "iter_7", TREE, RECORD)
    with pytest.raises(CheckpointError, match=r"has no step\.json\. There are records in it: iter_7"):
        read_record(tmp_path / "bad_steps")


def changed(values, name, value):
    return {**values, name: value}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda values: "{", "is no JSON"),
        (lambda values: "[1]", "has format=None, and this version of trainwright reads format=1"),
        (lambda values: json.dumps(changed(values, "format", 2)), "has format=2, and"),
        (lambda values: json.dumps(changed(values, "colour", 1)), "is no record of a step: TypeError: .*colour"),
        (lambda values: json.dumps(changed(values, "losses", {"loss": 1.0})), "is no record of a step: TypeError"),
        (lambda values: json.dumps({k: v for k, v in values.items() if k != "losses"}), "KeyError: 'losses'"),
        (
            lambda values: json.dumps(changed(values, "iteration", "7")),
            "has iteration='7', which must be a whole number",
        ),
    ],
)
def test_a_spoilt_step_json(tmp_path, change, text):
    path = write_step_record(tmp_path / "step", TREE, RECORD)
    file = tmp_path / "step" / "step.json"
    file.write_text(change(json.loads(file.read_text())))
    with pytest.raises(CheckpointError, match=text) as caught:
        read_record(path)
    assert "step.json" in str(caught.value)


def test_a_step_json_of_other_bytes(tmp_path):
    path = write_step_record(tmp_path / "step", TREE, RECORD)
    (tmp_path / "step" / "step.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_record(path)


def test_a_lost_or_spoilt_state(tmp_path):
    path = write_step_record(tmp_path / "step", TREE, RECORD)
    state = tmp_path / "step" / "state.pth"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_step_record(path)
    state.unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        read_step_record(path)

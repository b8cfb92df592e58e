"""DeepSpeed's folders, made by hand from what its pickles hold: read without the package, and nothing is run."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint.kinds import DEEPSPEED, check_checkpoint, layout_of, read_checkpoint

SHAPES = {"a": torch.Size((3, 2)), "b": torch.Size((5,))}
WHOLE = {"a": torch.arange(6.0).reshape(3, 2), "b": -torch.arange(5.0) - 0.5}


@pytest.fixture
def scaler(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An object of a class that a pickle names as DeepSpeed's."""
    names = ["deepspeed", "deepspeed.runtime", "deepspeed.runtime.fp16", "deepspeed.runtime.fp16.loss_scaler"]
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    kind = type("LossScaler", (), {"__module__": names[-1]})
    monkeypatch.setattr(sys.modules[names[-1]], "LossScaler", kind, raising=False)
    made = kind()
    made.cur_scale = 1.0
    return made


def write(folder: Path, stage: int, scaler: Any) -> Path:
    """Two ranks' files of the weights above, in bfloat16 in the module; 'buf' is a buffer, 'c' the weight 'a' again."""
    step = folder / "last"
    step.mkdir(parents=True)
    (folder / "latest").write_text("last")
    module = {name: value.bfloat16() for name, value in {**WHOLE, "c": WHOLE["a"], "buf": torch.ones(1)}.items()}
    model = {"module": module, "param_shapes": [SHAPES], "shared_params": {"c": "a"}, "ds_version": "0.19.8"}
    if stage == 3:
        module.update({name: torch.empty(0) for name in ("a", "b", "c")})
        padded = [torch.cat([value.reshape(-1), torch.zeros(value.numel() % 2)]) for value in WHOLE.values()]
        parts = [torch.cat([line.chunk(2)[rank] for line in padded]) for rank in range(2)]
        key = "fp32_flat_groups"
    else:
        line = torch.cat([*(value.reshape(-1) for value in WHOLE.values()), torch.zeros(1)])
        parts, key = list(line.chunk(2)), "single_partition_of_fp32_groups"
    for rank in range(2):
        flat = {"zero_stage": stage, "partition_count": 2, key: [parts[rank]], "loss_scaler": scaler}
        torch.save({"optimizer_state_dict": flat}, step / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
        if stage == 3:
            torch.save(model, step / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt")
    if stage != 3:
        torch.save(model, step / "mp_rank_00_model_states.pt")
    return step


@pytest.mark.parametrize("stage", [2, 3])
def test_weights_are_put_together_in_single_precision(tmp_path: Path, scaler: Any, stage: int) -> None:
    step = write(tmp_path, stage, scaler)
    for path in (tmp_path, step):
        assert layout_of(path) == DEEPSPEED
        check_checkpoint(path)
        tree = read_checkpoint(path)
        assert list(tree["state_dict"]) == ["a", "b", "c", "buf"]
        for name, value in {**WHOLE, "c": WHOLE["a"]}.items():
            assert torch.equal(tree["state_dict"][name], value)
            assert tree["state_dict"][name].dtype == torch.float32
        assert tree["meta"] == {"deepspeed_version": "0.19.8"}


def test_a_part_that_is_missing_is_an_error(tmp_path: Path, scaler: Any) -> None:
    step = write(tmp_path, 2, scaler)
    (step / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(CheckpointError, match=r"last' has 1 of 2 \*_optim_states.pt: copy it again.$"):
        read_checkpoint(tmp_path)
    for file in step.glob("*_optim_states.pt"):
        file.unlink()
    assert read_checkpoint(tmp_path)["state_dict"]["a"].dtype == torch.bfloat16  # as stage 0 has them
    for file in write(tmp_path / "three", 3, scaler).glob("*_optim_states.pt"):
        file.unlink()
    with pytest.raises(CheckpointError, match="in which the weights of ZeRO stage 3 are"):
        read_checkpoint(tmp_path / "three")


def test_parts_that_do_not_make_up_the_shapes_are_an_error(tmp_path: Path, scaler: Any) -> None:
    step = write(tmp_path, 2, scaler)
    path = step / "zero_pp_rank_1_mp_rank_00_optim_states.pt"
    short = {"zero_stage": 2, "partition_count": 2, "single_partition_of_fp32_groups": [torch.zeros(2)]}
    torch.save({"optimizer_state_dict": short}, path)
    with pytest.raises(CheckpointError, match="do not make up the shapes"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("states", [[], [1], {"partition_count": []}, {"partition_count": 2}])
def test_states_that_are_none_are_an_error(tmp_path: Path, scaler: Any, states: Any) -> None:
    for file in write(tmp_path, 2, scaler).glob("*_optim_states.pt"):
        torch.save({"optimizer_state_dict": states}, file)
    with pytest.raises(CheckpointError, match="do not make up the shapes"):
        read_checkpoint(tmp_path)


def test_a_model_divided_in_another_way_is_refused(tmp_path: Path, scaler: Any) -> None:
    step = write(tmp_path, 2, scaler)
    torch.save({}, step / "mp_rank_01_model_states.pt")
    with pytest.raises(CheckpointError, match="divided by tensors, layers or experts"):
        read_checkpoint(tmp_path)


class Bomb:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('it was run')",)


def test_what_no_pickle_of_deepspeed_names_is_refused_and_not_run(tmp_path: Path, scaler: Any) -> None:
    step = write(tmp_path, 2, scaler)
    torch.save({"module": Bomb()}, step / "mp_rank_00_model_states.pt")
    with pytest.raises(CheckpointError, match="would run code"):
        read_checkpoint(tmp_path)


def test_latest_leads_nowhere_else(tmp_path: Path, scaler: Any) -> None:
    write(tmp_path / "run", 2, scaler)
    (tmp_path / "run" / "latest").write_text("../other")
    assert layout_of(tmp_path / "run") == ""

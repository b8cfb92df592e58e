"""Traces of single iterations, and the memory of the device."""

import json
import logging

import pytest
import torch

from trainwright.base.errors import ConfigError
from trainwright.trainer import AutogradProfiler, TorchMemoryStats, TorchProfiler, TrainerBase


class Trainer(TrainerBase):
    def __init__(self, hook, fails_at=None):
        super().__init__()
        self.fails_at = fails_at
        self.register_hooks([hook])

    def run_step(self):
        torch.ones(2) + 1
        if self.iter == self.fails_at:
            raise RuntimeError("the step failed")


def at_iteration(index):
    return lambda trainer: trainer.iter == index


CPU = [torch.profiler.ProfilerActivity.CPU]


def test_a_trace_for_tensorboard(tmp_path):
    Trainer(TorchProfiler(at_iteration(1), str(tmp_path), activities=CPU)).train(0, 3)
    (folder,) = (tmp_path / "log").iterdir()
    (trace,) = folder.iterdir()
    assert folder.name == "profiler-tensorboard-iter1"
    assert trace.name.startswith("worker0.")
    assert trace.name.endswith(".pt.trace.json")


@pytest.mark.parametrize("kind", ["torch", "autograd"])
def test_a_trace_for_chrome(kind, tmp_path):
    if kind == "torch":
        hook = TorchProfiler(at_iteration(2), str(tmp_path / "out"), activities=CPU, save_tensorboard=False)
    else:
        with pytest.warns(FutureWarning, match="TorchProfiler"):
            hook = AutogradProfiler(at_iteration(2), str(tmp_path / "out"), use_cuda=False)
    Trainer(hook).train(0, 4)
    (trace,) = (tmp_path / "out").iterdir()
    assert trace.name == "profiler-trace-iter2.json"
    events = json.loads(trace.read_text(encoding="utf-8"))
    assert "aten::add" in str(events)


def test_a_recording_ends_with_a_failure(tmp_path):
    hook = TorchProfiler(at_iteration(1), str(tmp_path), activities=CPU, save_tensorboard=False)
    with pytest.raises(RuntimeError, match="the step failed"):
        Trainer(hook, fails_at=1).train(0, 3)
    assert not torch.autograd._profiler_enabled()
    assert list(tmp_path.iterdir()) == []


def test_traces_are_written_to_a_local_folder():
    with pytest.raises(
        ConfigError, match="TorchProfiler output_dir must be a local folder, but got the URL 's3://out'"
    ):
        TorchProfiler(at_iteration(1), "s3://out")


@pytest.fixture
def device(monkeypatch):
    """A CUDA device of 1 to 4 MiB, as far as its memory goes."""
    names = ("max_memory_reserved", "memory_reserved", "max_memory_allocated", "memory_allocated")
    for n_mib, name in enumerate(names, 1):
        monkeypatch.setattr(torch.cuda, name, lambda n_mib=n_mib: n_mib * 2**20)
    resets = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_summary", lambda: "all of it")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: resets.append(1))
    return resets


def test_memory_is_logged_so_many_times(device, caplog):
    hook = TorchMemoryStats(period=3, max_runs=2)
    with caplog.at_level(logging.INFO, logger="trainwright.trainer"):
        trainer = Trainer(hook)
        trainer.train(0, 4)
        other = TorchMemoryStats(period=3, max_runs=2)
        other.load_state_dict(hook.state_dict())
        Trainer(other).train(4, 20)
    amounts = "max_reserved_mem: 1MB  reserved_mem: 2MB  max_allocated_mem: 3MB  allocated_mem: 4MB"
    own = [record.getMessage() for record in caplog.records if record.name == "trainwright.trainer"]
    assert own == [f" iter: 2  {amounts}", f" iter: 3  {amounts}", "\nall of it"]
    assert len(device) == 2


def test_without_a_device_there_is_no_memory_to_log(caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    hook = TorchMemoryStats(period=1)
    with caplog.at_level(logging.INFO, logger="trainwright.trainer"):
        Trainer(hook).train(0, 3)
    assert hook.state_dict() == {"runs": 0}
    assert "mem" not in caplog.text

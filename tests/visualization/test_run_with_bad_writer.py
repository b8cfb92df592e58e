import json
import threading

import pytest
import torch
from torch import nn

from trainwright import Runner
from trainwright.model import BaseModel
from trainwright.registry import VISBACKENDS
from trainwright.visualization import BaseVisBackend, Visualizer


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 1)
        self.drop = nn.Dropout(0.3)

    def forward(self, x, mode="loss"):
        return {"loss": (self.drop(self.line(x)) ** 2).mean()}


class Breaks(BaseVisBackend):
    """Draws from the global stream with each line, and breaks at the second, or at once."""

    def __init__(self, save_dir, at=2, on_open=False):
        super().__init__(save_dir)
        self.left, self.on_open = at, on_open

    def add_config(self, config, **kwargs):
        if self.on_open:
            raise RuntimeError("no key")

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        torch.rand(5)
        self.left -= 1
        if self.left <= 0:
            raise RuntimeError("disk full")


def train(folder, backends, name, **visualizer):
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(12, 4))
    runner = Runner(
        model=Model(),
        work_dir=str(folder / name),
        train_dataloader=torch.utils.data.DataLoader(data, batch_size=2),
        train_cfg={"by_epoch": True, "max_epochs": 2},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        default_hooks={"logger": {"type": "LoggerHook", "interval": 2}},
        visualizer={"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}, *backends], **visualizer},
        randomness={"seed": 3},
        experiment_name=name,
    )
    runner.train()
    (scalars,) = (folder / name).rglob("scalars.json")
    losses = [json.loads(line)["loss"] for line in scalars.read_text().splitlines()]
    (log,) = (folder / name).rglob("*.log")
    return runner.model.state_dict(), losses, log.read_text()


@pytest.mark.parametrize("options", [{}, {"on_open": True}], ids=["later", "at_once"])
def test_a_run_with_a_broken_writer_ends_with_the_same_weights(tmp_path, monkeypatch, options):
    monkeypatch.setitem(VISBACKENDS._module_dict, "Breaks", Breaks)
    plain, losses, _ = train(tmp_path, [], "plain")
    broken, broken_losses, log = train(tmp_path, [{"type": "Breaks", **options}], "broken")
    assert len(losses) == 6
    assert broken_losses == losses
    assert all(torch.equal(plain[key], broken[key]) for key in plain)
    assert log.count("Breaks is not used any more") == 1


def test_a_run_whose_tensorboard_hangs_reports_it_once_and_ends_with_the_same_weights(tmp_path, monkeypatch):
    """As on a disk that does not answer: TensorBoard's thread stands in a write, its queue fills, its caller waits."""
    pytest.importorskip("torch.utils.tensorboard")
    from tensorboard.summary.writer.record_writer import RecordWriter

    write, gate, written = RecordWriter.write, threading.Event(), []

    def write_some(self, data):
        written.append(threading.current_thread())
        if len(written) > 10:
            gate.wait()
        write(self, data)

    plain, losses, _ = train(tmp_path, [], "plain")
    monkeypatch.setattr(RecordWriter, "write", write_some)
    hung, hung_losses, log = train(tmp_path, [{"type": "TensorboardVisBackend"}], "hung", writer_timeout_s=1.0)
    try:
        assert len(written) == 11
        assert hung_losses == losses
        assert all(torch.equal(plain[key], hung[key]) for key in plain)
        assert log.count("TensorboardVisBackend is not used any more: add_scalars took longer than 1 s") == 1
        assert log.count("is not used any more") == 1
    finally:
        gate.set()
        for thread in threading.enumerate():
            if thread.name.startswith("writer "):
                thread.join(5)
        Visualizer.get_current_instance().get_backend("TensorboardVisBackend").close()
    assert not written[0].is_alive()

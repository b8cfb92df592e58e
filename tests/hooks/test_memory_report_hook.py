"""MemoryReportHook: the metrics, and the report with an error that is raised where memory would run out."""

from pathlib import Path

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.engine import Hook
from trainwright.hooks import MemoryReportHook
from trainwright.hooks.memory_report_hook import host_memory_peak_mb
from trainwright.hooks.out_of_memory import Held, _by_module, _device_line, is_out_of_memory, memory_report
from trainwright.registry import MODELS
from trainwright.runner import Runner
from trainwright.testing.toys import ToyModel, toy_config, toy_loader

EPOCHS = {"by_epoch": True, "max_epochs": 2}
ITERS = {"type": "IterBasedTrainLoop", "max_iters": 8, "val_interval": 4}
LOGGER = {"logger": {"type": "LoggerHook", "interval": 2}}


class Big(nn.Module):
    """Fails in its `fail_at`-th forward, in which it has made a tensor of 1 MiB."""

    def __init__(self, fail_at, error) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(8, 3))
        self.register_buffer("seen", torch.zeros(1024))
        self.n, self.fail_at, self.error = 0, fail_at, error

    def forward(self, x):
        attention = torch.zeros(512, 512)
        self.n += 1
        if self.n == self.fail_at:
            raise self.error
        return x @ self.weight + attention[0, 0]


class BigModel(ToyModel):
    def __init__(self, fail_at=5, error=None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.second = nn.Sequential(
            Big(fail_at, torch.OutOfMemoryError("CUDA out of memory.\nTried") if error is None else error)
        )


@pytest.fixture(autouse=True)
def registered():
    MODELS.register_module(name="BigModelForTest", module=BigModel)
    yield
    MODELS._module_dict.pop("BigModelForTest", None)


def make(work_dir, *hooks, **changes) -> Runner:
    base = {
        "model": {"type": "BigModelForTest"},
        "train_cfg": EPOCHS,
        "default_hooks": LOGGER,
        "custom_hooks": [{"type": "MemoryReportHook"}, *hooks],
        "optim_wrapper": {"optimizer": {"type": "Adam", "lr": 0.1}},
    }
    return Runner.from_cfg(toy_config(work_dir, **{**base, **changes}))


def report_of(runner, error_type=torch.OutOfMemoryError, run="train"):
    with pytest.raises(error_type) as caught:
        getattr(runner, run)()
    files = list(Path(runner.log_dir).glob("out_of_memory*"))
    assert len(files) == 1
    text = files[0].read_text(encoding="utf-8")
    notes = "".join(getattr(caught.value, "__notes__", []) or map(str, caught.value.args))
    assert text in notes
    assert str(files[0]) in notes
    return text


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERS], ids=["epochs", "iters"])
def test_the_report(tmp_path, train_cfg):
    runner = make(tmp_path, train_cfg=train_cfg, val_dataloader=None, val_cfg=None, val_evaluator=None)
    text = report_of(runner)
    epoch = 1 if train_cfg is ITERS else 2
    assert f"Out of memory in train, epoch {epoch}, iteration 5: CUDA out of memory.\n" in text
    assert "module: second.0\n" in text
    assert f"batch {4 if train_cfg is ITERS else 0}: dict of 2\n  inputs: (4, 6) float32 on cpu\n" in text
    assert "\n  label: (4,) int64 on cpu\n" in text
    lines = text.splitlines()
    first = next(line.split() for line in lines if line.startswith("1.000"))
    assert first[:2] == ["1.000", "second.0"]
    assert "attention in forward()" in next(line for line in lines if line.startswith("1.000"))
    by_module = next(line.split() for line in lines if line.startswith("second.0 "))
    # module, all, weights, gradients, optimizer state, buffers, in use
    assert by_module[0] == "second.0"
    assert float(by_module[1]) >= 1.004
    assert by_module[5] == "0.004"
    assert any("weight exp_avg" in line and "optimizer state" in line for line in lines)
    assert "cpu: 1.0 MiB are in the tensors found below" in text
    assert "activation_checkpointing=[...]" in text


def test_a_validation_inside_training(tmp_path):
    text = report_of(make(tmp_path, val_dataloader=toy_loader(6, 3, shuffle=False)))  # 4 + 1
    assert "Out of memory in train, epoch 2, iteration 5" in text
    assert "batch 0: dict of 2\n  inputs: (3, 6) float32 on cpu" in text


@pytest.mark.parametrize("run", ["val", "test"])
def test_without_training(tmp_path, run):
    model = {"type": "BigModelForTest", "fail_at": 1}
    test = {"test_dataloader": toy_loader(6, 3, shuffle=False), "test_cfg": {}, "test_evaluator": {"type": "Accuracy"}}
    text = report_of(make(tmp_path, model=model, **test), run=run)
    assert f"Out of memory in {run}" in text
    assert "module: second.0" in text


def test_together_with_an_average_the_report_shows_what_was_there(tmp_path):
    runner = make(tmp_path, {"type": "EMAHook"}, {"type": "FreezeHook", "modules": "first"})
    lines = report_of(runner).splitlines()
    assert "module: second.0" in lines
    average = next(line.split() for line in lines if line.startswith("EMAHook.ema_model"))
    assert average[5] == "0.004"  # its copy of the buffer
    assert not any("EMAHook.src_model" in line for line in lines)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_count(error, is_one):
    assert is_out_of_memory(error) is is_one


def test_other_errors_are_left_alone(tmp_path):
    runner = make(tmp_path, model={"type": "BigModelForTest", "error": ValueError("no")})
    with pytest.raises(ValueError, match="^no$") as caught:
        runner.train()
    assert not getattr(caught.value, "__notes__", [])
    assert not list(tmp_path.rglob("out_of_memory*"))


def test_memory_of_the_host(tmp_path):
    text = report_of(make(tmp_path, model={"type": "BigModelForTest", "error": MemoryError()}), MemoryError)
    assert "iteration 5: MemoryError" in text


def test_an_error_outside_of_an_iteration(tmp_path):
    class Failing(Hook):
        def before_train_epoch(self, runner):
            raise MemoryError("here")

    text = report_of(make(tmp_path, Failing()), MemoryError)
    assert "module: none of the model" in text
    assert "batch: no iteration was running" in text


def test_batches_of_any_form(tmp_path):
    runner = make(tmp_path)
    batch = {"inputs": [torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3, 4)], "meta": {"ids": ("a", 1)}, "n": 3}

    from trainwright.engine.core import run_iter
    from trainwright.engine.events import Phase

    def step(batch):
        raise MemoryError("now")

    try:
        run_iter(runner.ctx, Phase.TEST, step, 7, batch)
    except MemoryError as error:
        text = memory_report(runner, "test", error, 3)
    assert (
        "batch 7: dict of 3\n"
        "  inputs: list of 3\n"
        "    (3, 2) float32 on cpu\n"
        "    (3, 4) float32 on cpu\n"
        "  meta: dict of 1\n"
        "    ids: tuple of 2\n"
        "      str\n"
        "      int\n"
        "  n: int\n" in text
    )
    assert "the 3 largest tensors" in text


def test_tied_weights_and_views_count_once(tmp_path):
    runner = make(tmp_path)
    runner.model.tied = runner.model.first
    runner.model.register_buffer("view", runner.model.second[0].seen[:10])
    try:
        raise MemoryError
    except MemoryError as error:
        text = memory_report(runner, "train", error, 50)
    assert text.count("(1024,)") + text.count("(10,)") == 1
    assert "tied" not in text


def test_many_modules_are_summed():
    held = [Held(f"m{n}", "weights", "weight", torch.zeros(2**18 * (30 - n))) for n in range(23)]
    lines = _by_module(held).splitlines()
    assert len(lines) == 2 + 21
    assert lines[-1].split() == ["(3", "others)", *["27.000"] * 2, *["0.000"] * 4]


def test_the_line_of_a_gpu(monkeypatch):
    numbers = {"memory_allocated": 3, "memory_reserved": 5, "max_memory_allocated": 4}
    for name, value in numbers.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value * 2**20)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: type("P", (), {"total_memory": 8 * 2**20}))
    line = _device_line(torch.device("cuda", 0), 2**20)
    assert line.startswith("cuda:0: 3.0 MiB in tensors now, 4.0 at most, 5.0 held by torch, of 8.0; 1.0 MiB are in")


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERS], ids=["epochs", "iters"])
def test_metrics(tmp_path, train_cfg, monkeypatch):
    runner = make(tmp_path, model={"type": "ToyModel"}, train_cfg=train_cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    values = scalars["train/host_memory_peak_mb"].data[0].tolist()
    assert len(values) == 4
    assert 50 < values[0] <= values[-1] <= host_memory_peak_mb()
    assert "train/device_memory_peak_mb" not in scalars


def test_metrics_of_a_gpu(tmp_path, monkeypatch):
    hook = MemoryReportHook(interval=4)
    runner = make(tmp_path, hook, model={"type": "ToyModel"})
    put = {}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7 * 2**20 + 1)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 9 * 2**20)
    monkeypatch.setattr(type(runner.strategy), "device", torch.device("cuda"))
    monkeypatch.setattr(runner.ctx.metrics, "put", lambda stage, values: put.update(values))
    hook.before_train(runner)
    hook.after_train_iter(runner, 2)
    assert not put
    hook.after_train_iter(runner, 3)
    assert put.pop("host_memory_peak_mb") > 50
    assert put == {"device_memory_peak_mb": 7, "device_memory_reserved_mb": 9}


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"interval": 0}, ConfigError, "MemoryReportHook interval must be at least 1, but got 0"),
        ({"n_top": "all"}, ConfigTypeError, "MemoryReportHook n_top must be a whole number, but got 'all'"),
    ],
)
def test_settings(settings, error, text):
    with pytest.raises(error, match=text):
        MemoryReportHook(**settings)

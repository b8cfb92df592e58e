"""ThroughputHook with a clock that the test moves: every iteration takes a second, every validation a hundred."""

from types import SimpleNamespace

import pytest
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError, DataError, Interrupted
from trainwright.engine import Event, Hook
from trainwright.engine.loops.tokens import tokens_in
from trainwright.hooks import ThroughputHook, throughput_hook
from trainwright.hooks.throughput_hook import _dtype_of
from trainwright.runner import Runner
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import CLASSES, DIM, differences, toy_config, toy_loader

EPOCHS = {"by_epoch": True, "max_epochs": 2}
ITERS = {"type": "IterBasedTrainLoop", "max_iters": 8, "val_interval": 4}
LOGGER = {"logger": {"type": "LoggerHook", "interval": 2}}
# Of one sample, forward and backward: two layers; the gradient of the first layer's input is not needed.
FLOPS = 2 * (DIM * 8 + 8 * CLASSES) * 3 - 2 * DIM * 8


class Time(Hook):
    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.now += 1

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.now += 100


@pytest.fixture
def clock(monkeypatch):
    time = Time()
    monkeypatch.setattr(throughput_hook, "perf_counter", time)
    return time


def make(work_dir, *hooks, **changes) -> Runner:
    base = {"train_cfg": EPOCHS, "default_hooks": LOGGER, "custom_hooks": list(hooks)}
    return Runner.from_cfg(toy_config(work_dir, **{**base, **changes}))


def logged(runner, name):
    runner.ctx.metrics.flush()
    scalars = runner.message_hub.log_scalars
    return scalars[f"train/{name}"].data[0].tolist() if f"train/{name}" in scalars else None


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERS], ids=["epochs", "iters"])
def test_rates(tmp_path, clock, train_cfg):
    """Batches of 4, windows of 2 iterations; the first iteration is in none, and neither is a validation."""
    runner = make(tmp_path, clock, {"type": "ThroughputHook", "peak_flops": 1e6}, train_cfg=train_cfg)
    runner.train()
    assert logged(runner, "samples_per_s") == [4.0] * 4
    assert logged(runner, "tflops_per_s") == pytest.approx([4 * FLOPS / 1e12] * 4)
    assert logged(runner, "mfu") == pytest.approx([4 * FLOPS / 1e6] * 4)
    assert logged(runner, "tokens_per_s") is None


def test_a_window_of_its_own_and_uneven_batches(tmp_path, clock):
    """10 samples in batches of 4, 4 and 2: windows end with every third iteration and with the epoch."""
    loader = toy_loader(10, 4)
    hook = {"type": "ThroughputHook", "interval": 3, "flops": None}
    runner = make(tmp_path, clock, hook, train_dataloader=loader)
    runner.train()
    assert logged(runner, "samples_per_s") == pytest.approx([6 / 2, 10 / 3])
    assert logged(runner, "tflops_per_s") is None


@pytest.mark.parametrize(
    "tokens",
    ["inputs", lambda batch: batch["inputs"].numel(), lambda batch: torch.ones(()).int() * batch["inputs"].numel()],
    ids=["key", "number", "tensor"],
)
def test_tokens(tmp_path, clock, tokens):
    runner = make(tmp_path, clock, ThroughputHook(tokens=tokens, peak_flops=1e6))
    runner.train()
    assert logged(runner, "tokens_per_s") == [4.0 * DIM] * 4
    assert logged(runner, "tokens") == [2 * 24, 4 * 24, 6 * 24, 8 * 24]
    assert logged(runner, "mfu") == pytest.approx([4 * FLOPS / 1e6] * 4)


def test_tokens_of_nested_and_listed_batches():
    hook = ThroughputHook(tokens="text.ids")
    batch = {"text": {"ids": [torch.zeros(3), torch.zeros(2, 2), [1, 2, 3]]}}
    assert tokens_in(batch, hook.tokens, "ThroughputHook") == 10
    with pytest.raises(ConfigError, match=r"tokens='text.ids' is no key of the batch: there is no 'ids' in idz.*'idz'"):
        tokens_in({"text": {"idz": 1}}, hook.tokens, "ThroughputHook")
    with pytest.raises(ConfigError, match="there is no 'text' in Tensor"):
        tokens_in(torch.zeros(2), hook.tokens, "ThroughputHook")


def test_operations_that_are_given(tmp_path, clock):
    runner = make(tmp_path, clock, {"type": "ThroughputHook", "flops": 1e12})
    runner.train()
    assert logged(runner, "tflops_per_s") == pytest.approx([4.0] * 4)
    assert logged(runner, "mfu") is None  # the peak of a CPU is not known


def test_a_batch_of_unknown_size(tmp_path, clock):
    """A batch whose form does not tell counts with the loader's batch size."""
    hook = ThroughputHook(flops=None)
    train_loader = SimpleNamespace(batch_size=7)
    runner = SimpleNamespace(
        train_dataloader=train_loader, hooks=[], strategy=SimpleNamespace(device=torch.device("cpu"))
    )
    hook.before_train(runner)
    hook.before_train_iter(runner, 0, object())
    assert hook.n_samples == 7


def test_counting_changes_nothing(tmp_path):
    changes = {"model": {"type": "ToyModel", "dropout": 0.3}, "train_dataloader": toy_loader(16, 4, noise=0.3)}
    plain = make(tmp_path / "plain", **changes)
    plain.train()
    counted = make(tmp_path / "counted", {"type": "ThroughputHook"}, **changes)
    counted.train()
    assert not differences(plain.strategy.state_tree(), counted.strategy.state_tree())


def test_nothing_is_read_between_two_lines(tmp_path):
    totals = []
    for hooks in ([], [ThroughputHook(tokens=lambda batch: (batch["inputs"] > 0).sum(), peak_flops=1e9)]):
        runner = make(
            tmp_path / str(len(hooks)),
            *hooks,
            train_cfg={"by_epoch": True, "max_epochs": 8},
            default_hooks={"logger": {"type": "LoggerHook", "interval": 4}, "checkpoint": None},
            val_dataloader=None,
            val_cfg=None,
            val_evaluator=None,
        )
        with count_host_reads() as reads:
            runner.train()
        totals.append(reads.total)
    assert totals[0] == totals[1]


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERS], ids=["epochs", "iters"])
@pytest.mark.parametrize("kind", ["number", "tensor"])
def test_totals_go_on_after_a_resume(tmp_path, clock, train_cfg, kind):
    count = (lambda b: b["inputs"].numel()) if kind == "number" else (lambda b: torch.tensor(b["inputs"].numel()))
    with pytest.raises(Interrupted):
        make(
            tmp_path, clock, ThroughputHook(tokens=count), StopAt(Event.AFTER_TRAIN_ITER, 3), train_cfg=train_cfg
        ).train()
    hook = ThroughputHook(tokens=count)
    last = make(tmp_path, clock, hook, train_cfg=train_cfg, resume=True)
    last.train()
    assert hook.n_samples == 32
    assert hook.state_dict() == {"n_samples": 32, "n_tokens": 32 * DIM, "flops_per_unit": pytest.approx(FLOPS / DIM)}
    assert logged(last, "tokens")[-1] == 32 * DIM


def test_a_first_step_that_fails_leaves_nothing_behind(tmp_path):
    hook = ThroughputHook()

    class Failing(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            raise DataError("no")

    failing = Failing()
    failing.priority = "VERY_HIGH"
    with pytest.raises(DataError, match="no"):
        make(tmp_path, hook, failing).train()
    assert hook._counter is None
    from torch.utils._python_dispatch import _get_current_dispatch_mode

    assert _get_current_dispatch_mode() is None


def test_a_model_without_operations_that_are_counted(tmp_path, clock):
    class Zero:
        def get_total_flops(self):
            return 0

        def __exit__(self, *args): ...

    hook = ThroughputHook(peak_flops=1.0)
    hook._leave_counter = Zero
    make(tmp_path, clock, hook).train()
    assert hook.flops_per_unit is None


@pytest.mark.parametrize(
    ("wrapper", "dtype"),
    [
        ({}, torch.float32),
        ({"type": "AmpOptimWrapper"}, torch.bfloat16),
        ({"type": "AmpOptimWrapper", "dtype": "float16"}, torch.float16),
    ],
)
def test_the_precision_of_a_run(tmp_path, wrapper, dtype):
    found = []

    class Look(Hook):
        def before_train(self, runner):
            found.append(_dtype_of(runner))

    make(tmp_path, Look(), optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, **wrapper}).train()
    assert found == [dtype]


def test_a_device_that_the_table_does_not_know(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Unheard-of 9000")
    warnings = []
    strategy = SimpleNamespace(
        device=torch.device("cuda"), _wrappers=lambda: [object()], unwrapped_model=torch.nn.Linear(2, 2)
    )
    logger = SimpleNamespace(warning=lambda text, *args: warnings.append(text % args))
    runner = SimpleNamespace(train_dataloader=None, hooks=[], strategy=strategy, logger=logger)
    ThroughputHook().before_train(runner)
    ThroughputHook(flops=None).before_train(runner)
    assert warnings == ["ThroughputHook does not know the peak of Unheard-of 9000: mfu needs peak_flops=..."]


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"interval": 0}, ConfigError, "ThroughputHook interval must be at least 1, but got 0"),
        ({"tokens": 3}, ConfigTypeError, "ThroughputHook tokens must be a key of the batch or a function, but got 3"),
        ({"flops": "measure"}, ConfigError, "flops must be 'auto', a number or None, but got 'measure'"),
        ({"flops": 0}, ConfigError, "ThroughputHook flops must be above 0, but got 0"),
        ({"peak_flops": -1.0}, ConfigError, "ThroughputHook peak_flops must be above 0, but got -1.0"),
    ],
)
def test_settings(settings, error, text):
    with pytest.raises(error, match=text):
        ThroughputHook(**settings)

"""GradNormHook beside norms taken by hand from the same gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainwright.base.errors import ConfigError, ConfigTypeError, DataError, Interrupted
from trainwright.engine import Event, Hook
from trainwright.hooks import GradNormHook, grad_norm_hook, gradient_norms
from trainwright.optim import OptimWrapper, OptimWrapperDict
from trainwright.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from trainwright.runner import Runner
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import ToyModel, differences, toy_config, toy_loader

SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
ITERS = {"type": "IterBasedTrainLoop", "max_iters": 8, "val_interval": 4}


class Batches(Hook):
    """Keeps weights and batch of every iteration."""

    def __init__(self) -> None:
        self.kept = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        state = {k: v.clone() for k, v in runner.model.state_dict().items()}
        self.kept.append((state, {k: v.clone() for k, v in data_batch.items()}))


def make(work_dir, *hooks, **changes) -> Runner:
    return Runner.from_cfg(toy_config(work_dir, **{"custom_hooks": list(hooks), **changes}))


def logged(runner, name):
    scalars = runner.message_hub.log_scalars
    runner.ctx.metrics.flush()
    return scalars[f"train/{name}"].data[0].tolist() if f"train/{name}" in scalars else None


def by_hand(kept, names=("first", "second"), order=2.0, of_weights=False):
    """The norm for each kept iteration."""
    norms = []
    for state, batch in kept:
        model = ToyModel()
        model.load_state_dict(state)
        F.cross_entropy(model(batch["inputs"]), batch["label"]).backward()
        chosen = [p for name, p in model.named_parameters() if name.startswith(names)]
        flat = torch.cat([(p.detach() if of_weights else p.grad).flatten() for p in chosen])
        norms.append(torch.linalg.vector_norm(flat, order).item())
    return norms


@pytest.mark.parametrize("train_cfg", [{"by_epoch": True, "max_epochs": 2}, ITERS], ids=["epochs", "iters"])
@pytest.mark.parametrize("order", [2.0, 1, "inf"])
def test_norms_are_those_taken_by_hand(tmp_path, train_cfg, order):
    keep = Batches()
    hook = {"type": "GradNormHook", "modules": ["first", "*.bias"], "norm_type": order, "weights": True}
    runner = make(tmp_path, hook, keep, train_cfg=train_cfg)
    runner.train()
    assert len(keep.kept) == 8
    order = float(order)
    assert logged(runner, "grad_norm") == pytest.approx(by_hand(keep.kept, order=order), rel=1e-5)
    assert logged(runner, "grad_norm/first") == pytest.approx(by_hand(keep.kept, ("first",), order), rel=1e-5)
    biases = by_hand(keep.kept, ("first.bias", "second.bias"), order)
    assert logged(runner, "grad_norm/*.bias") == pytest.approx(biases, rel=1e-5)
    weights = by_hand(keep.kept, order=order, of_weights=True)
    assert logged(runner, "weight_norm") == pytest.approx(weights, rel=1e-5)
    assert logged(runner, "weight_norm/first") is not None


def test_training_is_the_same_with_and_without(tmp_path):
    plain = make(tmp_path / "plain")
    plain.train()
    watched = make(tmp_path / "watched", {"type": "GradNormHook", "weights": True})
    watched.train()
    assert not differences(plain.strategy.state_tree(), watched.strategy.state_tree())


def test_nothing_is_read_between_two_lines(tmp_path):
    hook = {"type": "GradNormHook", "modules": "first", "weights": True}
    counts = []
    for hooks in ([], [hook]):
        default = {"logger": {"type": "LoggerHook", "interval": 4}}
        runner = make(tmp_path / str(len(hooks)), *hooks, default_hooks=default, val_dataloader=None, val_cfg=None,
                      val_evaluator=None)  # fmt: skip
        with count_host_reads() as reads:
            runner.train()
        counts.append(reads)
    assert counts[0].total == counts[1].total, counts[1].report()


def test_the_interval_counts_updates_and_goes_on_after_a_resume(tmp_path):
    changes = {
        "optim_wrapper": {"optimizer": SGD, "accumulative_counts": 2},
        "train_cfg": {"by_epoch": True, "max_epochs": 3},
    }
    hook = {"type": "GradNormHook", "interval": 2}
    whole = make(tmp_path / "whole", hook, **changes)
    whole.train()
    assert len(logged(whole, "grad_norm")) == 3  # updates 0, 2 and 4 of 6
    with pytest.raises(Interrupted):
        make(tmp_path / "parts", hook, StopAt(Event.AFTER_TRAIN_ITER, 6), **changes).train()
    last = make(tmp_path / "parts", hook, resume=True, **changes)
    last.train()
    assert logged(last, "grad_norm") == logged(whole, "grad_norm")
    assert not differences(last.strategy.state_tree(), whole.strategy.state_tree())


def test_an_update_of_several_losses_has_the_norm_of_their_mean(tmp_path):
    whole = make(tmp_path / "whole", GradNormHook(), train_dataloader=toy_loader(16, 8, shuffle=False))
    whole.train()
    wrapper = {"optimizer": SGD, "accumulative_counts": 2}
    loader = toy_loader(16, 4, shuffle=False)
    parts = make(tmp_path / "parts", GradNormHook(), optim_wrapper=wrapper, train_dataloader=loader)
    parts.train()
    assert logged(parts, "grad_norm") == pytest.approx(logged(whole, "grad_norm"), rel=1e-4)


def test_beside_clipping(tmp_path):
    """The total is the one that clipping logs, once an update; those of modules are from before it."""
    keep = Batches()
    wrapper = {"optimizer": SGD, "clip_grad": {"max_norm": 0.01}}
    runner = make(tmp_path, {"type": "GradNormHook", "modules": "first"}, keep, optim_wrapper=wrapper)
    runner.train()
    assert logged(runner, "grad_norm") == pytest.approx(by_hand(keep.kept), rel=1e-5)
    assert logged(runner, "grad_norm/first") == pytest.approx(by_hand(keep.kept, ("first",)), rel=1e-5)
    alone = make(tmp_path / "alone", GradNormHook(), optim_wrapper=wrapper)
    alone.train()
    assert logged(alone, "grad_norm") == logged(runner, "grad_norm")


def test_clipping_by_value(tmp_path):
    keep = Batches()
    wrapper = {"optimizer": SGD, "clip_grad": {"type": "value", "clip_value": 0.001}}
    runner = make(tmp_path, GradNormHook(), keep, optim_wrapper=wrapper)
    runner.train()
    assert logged(runner, "grad_norm") == pytest.approx(by_hand(keep.kept), rel=1e-5)


def test_without_the_loss_scale(tmp_path):
    keep = Batches()
    wrapper = {"type": "AmpOptimWrapper", "optimizer": SGD, "dtype": "float32", "loss_scale": 1024.0}
    runner = make(tmp_path, {"type": "GradNormHook", "modules": "first"}, keep, optim_wrapper=wrapper)
    runner.train()
    assert logged(runner, "grad_norm") == pytest.approx(by_hand(keep.kept), rel=1e-5)
    assert logged(runner, "grad_norm/first") == pytest.approx(by_hand(keep.kept, ("first",)), rel=1e-5)


def test_parts_that_are_frozen_have_no_gradient(tmp_path):
    keep = Batches()
    freeze = {"type": "FreezeHook", "modules": "first", "end": 1}
    runner = make(tmp_path, {"type": "GradNormHook", "modules": ["first", "second"]}, keep, freeze)
    runner.train()
    total = by_hand(keep.kept[:4], ("second",)) + by_hand(keep.kept[4:])
    assert logged(runner, "grad_norm") == pytest.approx(total, rel=1e-5)
    assert logged(runner, "grad_norm/first") == pytest.approx(by_hand(keep.kept[4:], ("first",)), rel=1e-5)
    assert logged(runner, "grad_norm/second") == pytest.approx(by_hand(keep.kept, ("second",)), rel=1e-5)


class Sparse(ToyModel):
    """With an embedding whose gradients are sparse, and weights in half precision."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.table = nn.Embedding(3, 6, sparse=True)
        self.narrow = nn.Parameter(torch.full((6,), 100.0, dtype=torch.bfloat16))

    def forward(self, inputs, label=None, mode="tensor"):
        return super().forward(inputs + self.table(label) + 1e-3 * self.narrow.float(), label, mode)


class TwoOptimizers:
    def __init__(self, *args, **kwargs) -> None: ...

    def __call__(self, model):
        parts = {"one": model.first, "two": model.second}
        return OptimWrapperDict(**{k: OptimWrapper(torch.optim.SGD(m.parameters(), lr=0.1)) for k, m in parts.items()})


class TwoSteps(ToyModel):
    def train_step(self, data, optim_wrapper):
        losses = self(**self.data_preprocessor(data, True), mode="loss")
        total, log_vars = self.parse_losses(losses)
        total.backward()
        optim_wrapper["two"].step()
        optim_wrapper["two"].zero_grad()
        optim_wrapper["one"].step()
        optim_wrapper["one"].zero_grad()
        return log_vars


@pytest.fixture(autouse=True)
def registered():
    for cls in (Sparse, TwoSteps):
        MODELS.register_module(name=f"{cls.__name__}ForTest", module=cls)
    OPTIM_WRAPPER_CONSTRUCTORS.register_module(name="TwoOptimizersForTest", module=TwoOptimizers)
    yield
    for cls in (Sparse, TwoSteps):
        MODELS._module_dict.pop(f"{cls.__name__}ForTest", None)
    OPTIM_WRAPPER_CONSTRUCTORS._module_dict.pop("TwoOptimizersForTest", None)


def test_sparse_and_narrow_gradients(tmp_path):
    keep = Batches()
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}}
    hook = {"type": "GradNormHook", "modules": ["table", "narrow"]}
    runner = make(tmp_path, hook, keep, model={"type": "SparseForTest"}, optim_wrapper=wrapper)
    runner.train()
    norms = {"table": [], "narrow": []}
    for state, batch in keep.kept:
        model = Sparse()
        model.load_state_dict(state)
        model(**batch, mode="loss")["loss"].backward()
        norms["table"].append(model.table.weight.grad.to_dense().norm().item())
        norms["narrow"].append(model.narrow.grad.float().norm().item())
    for name, values in norms.items():
        assert logged(runner, f"grad_norm/{name}") == pytest.approx(values, rel=1e-5)


def test_several_optimizers(tmp_path):
    keep = Batches()
    wrapper = {"constructor": "TwoOptimizersForTest"}
    hook = {"type": "GradNormHook", "modules": "first"}
    runner = make(tmp_path, hook, keep, model={"type": "TwoStepsForTest"}, optim_wrapper=wrapper)
    runner.train()
    assert logged(runner, "one.grad_norm") == pytest.approx(by_hand(keep.kept, ("first",)), rel=1e-5)
    assert logged(runner, "two.grad_norm") == pytest.approx(by_hand(keep.kept, ("second",)), rel=1e-5)
    assert logged(runner, "one.grad_norm/first") == logged(runner, "one.grad_norm")
    assert logged(runner, "two.grad_norm/first") is None


@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_the_wrapper_is_as_before(tmp_path, fails):
    hooks = [GradNormHook(), GradNormHook(interval=2, modules="second")]
    changes = {"train_dataloader": toy_loader(fail_at=5)} if fails else {}
    runner = make(tmp_path, *hooks, **changes)
    if fails:
        with pytest.raises(DataError):
            runner.train()
    else:
        runner.train()
        assert len(logged(runner, "grad_norm/second")) == 4
    assert "step" not in vars(runner.optim_wrapper)
    assert runner.optim_wrapper._is_plain


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"interval": 0}, ConfigError, "GradNormHook interval must be at least 1, but got 0"),
        ({"modules": []}, ConfigTypeError, "GradNormHook modules must be a pattern"),
        ({"norm_type": "two"}, ConfigTypeError, "norm_type must be a number above 0 or 'inf', but got 'two'"),
        ({"norm_type": 0}, ConfigTypeError, "norm_type must be a number above 0 or 'inf', but got 0"),
        ({"norm_type": True}, ConfigTypeError, "norm_type must be a number above 0 or 'inf', but got True"),
    ],
)
def test_settings(settings, error, text):
    with pytest.raises(error, match=text):
        GradNormHook(**settings)


def test_a_pattern_that_fits_nothing(tmp_path):
    with pytest.raises(ConfigError, match="GradNormHook has the pattern 'thrid', and ToyModel has no parameter"):
        make(tmp_path, {"type": "GradNormHook", "modules": "thrid"}).train()


def test_a_model_that_is_not_small_has_the_same_norms(tmp_path, monkeypatch):
    few = make(tmp_path / "few", GradNormHook())
    few.train()
    monkeypatch.setattr(gradient_norms, "_FEW", 0)
    many = make(tmp_path / "many", GradNormHook())
    many.train()
    assert logged(many, "grad_norm") == pytest.approx(logged(few, "grad_norm"), rel=1e-6)
    assert len(logged(many, "grad_norm")) == 8


def test_rows_are_folded_when_nobody_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(grad_norm_hook, "_FOLD_ROWS", 2)
    runner = make(tmp_path, GradNormHook(), default_hooks={"logger": None, "checkpoint": None})
    runner.train()
    assert len(runner.ctx.metrics._chunks) == 4
    assert len(logged(runner, "grad_norm")) == 8

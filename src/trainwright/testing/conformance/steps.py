"""Training steps: what the ranks do together is what one process does with the batch of all of them."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trainwright.engine import Hook
from trainwright.registry import MODELS
from trainwright.testing.conformance.behaviour import behaviour
from trainwright.testing.conformance.comparing import (
    expect,
    expect_alike,
    expect_as_one_process,
    expect_close,
    expect_same_run,
    mean_losses,
    saved,
    summary,
    trained,
)
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.task import ADAM, SGD, Task
from trainwright.testing.toys import ToyDataset

_AMP = {"type": "AmpOptimWrapper", "optimizer": SGD}
_LONG = {"by_epoch": False, "max_iters": 200, "val_interval": 1000}


@behaviour(quick=True)
def plain_loop(subject: Subject) -> None:
    """Losses are those of ten lines of PyTorch on the same batches, within 1e-6."""
    wanted = subject.alone(_plain_losses)
    ranks = subject.here(trained, {"data": {"shuffle": False}, **_NO_VALIDATION})
    expect_close(mean_losses(ranks)["train/loss"], wanted, "loss", 1e-6)


_NO_VALIDATION = {"val_cfg": None, "val_dataloader": None, "val_evaluator": None}


def _plain_losses(task: Task) -> list[float]:
    torch.manual_seed(1)
    model: Any = MODELS.build({"type": "ConformanceModel"})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data, losses = ToyDataset(32), []
    for batch in list(torch.arange(32).split(8)) * 2:
        loss = model(data.points[batch], torch.tensor(data.labels)[batch], mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@behaviour(quick=True)
def sgd_as_one_process(subject: Subject) -> None:
    """SGD: losses within 1e-6 and weights within 1e-5 of one process on the whole batch."""
    expect_as_one_process(subject)


@behaviour()
def momentum_as_one_process(subject: Subject) -> None:
    """SGD with Nesterov momentum and weight decay, as in one process; its state too."""
    optimizer = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
    expect_as_one_process(subject, optim_wrapper={"optimizer": optimizer})


@behaviour(quick=True)
def adamw_as_one_process(subject: Subject) -> None:
    """AdamW as in one process; its state too."""
    expect_as_one_process(subject, optim_wrapper={"optimizer": ADAM})


@behaviour()
def foreach_as_one_process(subject: Subject) -> None:
    """AdamW(foreach=True), which takes all parameters in one call, as in one process."""
    expect_as_one_process(subject, optim_wrapper={"optimizer": {**ADAM, "foreach": True}})


@behaviour()
def loop_as_one_process(subject: Subject) -> None:
    """AdamW(foreach=False), which takes parameter by parameter, as in one process."""
    expect_as_one_process(subject, optim_wrapper={"optimizer": {**ADAM, "foreach": False}})


@behaviour()
def two_hundred_iterations(subject: Subject) -> None:
    """After 200 iterations the losses are still within 1e-6 of those of one process."""
    expect_as_one_process(subject, train_cfg=_LONG, optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.02}})


@behaviour(quick=True)
def clip_by_norm(subject: Subject) -> None:
    """Clipping looks at the norm of the whole gradient; the logged norm is that of one process."""
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.5}, "clip_grad": {"max_norm": 0.2}}
    expect_as_one_process(subject, optim_wrapper=wrapper)


@behaviour()
def clip_by_value(subject: Subject) -> None:
    """Clipping by value acts on averaged gradients, as in one process."""
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.5}, "clip_grad": {"type": "value", "clip_value": 0.02}}
    expect_as_one_process(subject, optim_wrapper=wrapper)


@behaviour()
def norms_of_parts(subject: Subject) -> None:
    """GradNormHook logs norms of gradients and weights as one process does, by module too."""
    expect_as_one_process(subject, custom_hooks=[{"type": "GradNormHook", "modules": "blocks.*", "weights": True}])


@behaviour(quick=True)
def accumulation(subject: Subject) -> None:
    """A window of two batches, and a rest at the end, are one process's windows."""
    wrapper = {"optimizer": ADAM, "accumulative_counts": 2}
    expect_as_one_process(subject, optim_wrapper=wrapper, data={"size": 40})


@behaviour(n_data_ranks=2)
def no_exchange_in_a_window(subject: Subject) -> None:
    """Inside an accumulation window ranks exchange no gradients: reductions are counted."""
    plain, window = (expect_alike(subject.here(_reductions, counts), "reductions") for counts in (1, 2))
    expect(plain[0] == plain[1] > 0, f"reductions of two iterations: {plain}")
    expect(window[1] == plain[1], f"the step of a window has {window[1]} reductions, one without a window {plain[1]}")
    rest = window[0] if subject.n_data_ranks in (None, subject.n_ranks) else max(0, window[0] - plain[1] + 1)
    expect(rest == 0, f"the first iteration of a window has {window[0]} reductions, and needs none of gradients")


class _CountReductions(Hook):
    """Collectives that reduce, by iteration."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.counts: list[int] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self._counter: Any = _Reductions()
        self._stack = ExitStack()
        self._stack.enter_context(self._counter)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._stack.close()
        self.counts.append(self._counter.count)


class _Reductions(TorchDispatchMode):
    """Counts the collectives that reduce; those that DDP starts in C++ come by here too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in ("c10d", "_c10d_functional") and "reduce" in func.__name__:
            self.count += 1
        return func(*args, **(kwargs or {}))


def _reductions(task: Task, counts: int) -> list[int]:
    counter = _CountReductions()
    wrapper = {"optimizer": SGD, "accumulative_counts": counts}
    task.train(f"counts{counts}", optim_wrapper=wrapper, custom_hooks=[counter], **_NO_VALIDATION)
    return counter.counts[2:4]  # the first iterations may set things up


@behaviour(quick=True)
def amp_bfloat16(subject: Subject) -> None:
    """Autocast to bfloat16 gives what it gives in one process, within its precision."""
    expect_as_one_process(subject, 2e-2, optim_wrapper={**_AMP, "dtype": "bfloat16"})


@behaviour()
def amp_float16_overflow(subject: Subject) -> None:
    """Infinite gradients on one rank skip the update on all; scales and weights stay equal, and finite."""
    found = expect_alike(subject.here(_overflown), "scales, updates")
    scales, n_updates, is_finite = found
    expect(sum(later < sooner for sooner, later in zip(scales, scales[1:], strict=False)) == 1, f"scales {scales}")
    expect(n_updates == {len(scales) - 1.0}, f"{n_updates} updates in {len(scales)} iterations with one overflow")
    expect(is_finite, "weights are not finite")
    alone = subject.alone(_overflown)
    expect(alone[0] == scales, f"scales {scales}, in one process {alone[0]}")


class _KeepScales(Hook):
    priority = "LOWEST"

    def __init__(self) -> None:
        self.scales: list[float] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.scales.append(float(runner.optim_wrapper.loss_scaler.get_scale()))


def _overflown(task: Task) -> Any:
    hook = _KeepScales()
    scaling = {"init_scale": 256.0, "growth_interval": 4}
    runner = task.train(
        "overflow",
        model={"type": "ConformanceModel", "overflow_at": 2},
        optim_wrapper={"type": "AmpOptimWrapper", "dtype": "float16", "loss_scale": scaling, "optimizer": ADAM},
        custom_hooks=[hook],
    )
    n_updates = {float(values["step"]) for values in runner.optim_wrapper.optimizer.state.values()}
    weights = runner.strategy.model_state_dict().values()
    return hook.scales, n_updates, all(bool(torch.isfinite(w).all()) for w in weights if not w.is_meta)


@behaviour(quick=True)
def ema(subject: Subject) -> None:
    """EMAHook's averages are one process's, and validation runs with them."""
    hook = {"type": "EMAHook", "momentum": 0.3}
    expect_as_one_process(subject, custom_hooks=[hook], val_cfg={"loss": True})


@behaviour()
def freezing_from_the_start(subject: Subject) -> None:
    """A part that is frozen all the time is not trained, and the rest as in one process."""
    expect_as_one_process(subject, custom_hooks=[{"type": "FreezeHook", "modules": ["embed", "blocks.0"]}])


@behaviour()
def freezing_for_a_while(subject: Subject) -> None:
    """A part that is frozen in the middle of training thaws, and is exchanged again."""
    hook = {"type": "FreezeHook", "modules": "blocks.0", "begin": 2, "end": 5, "by_epoch": False}
    expect_as_one_process(subject, custom_hooks=[hook])


@behaviour(quick=True)
def schedule_by_epoch(subject: Subject) -> None:
    """A scheduler by epochs gives every rank one process's learning rates."""
    expect_as_one_process(subject, param_scheduler={"type": "MultiStepLR", "milestones": [1], "gamma": 0.1})


@behaviour()
def schedule_by_iteration(subject: Subject) -> None:
    """Warm-up, then a cosine by iterations, give every rank one process's learning rates."""
    warm_up = {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": 3, "by_epoch": False}
    cosine = {"type": "CosineAnnealingLR", "begin": 3, "end": 8, "T_max": 5, "by_epoch": False}
    expect_as_one_process(subject, param_scheduler=[warm_up, cosine])


@behaviour()
def schedule_by_plateau(subject: Subject) -> None:
    """A scheduler that looks at a metric decides on all ranks as one process does."""
    scheduler = {"type": "ReduceOnPlateauLR", "monitor": "loss", "patience": 0, "threshold": 0.9, "factor": 0.3}
    expect_as_one_process(
        subject,
        param_scheduler=scheduler,
        val_cfg={"loss": True},
        train_cfg={"by_epoch": True, "max_epochs": 4},
    )


@behaviour()
def parameter_groups(subject: Subject) -> None:
    """paramwise_cfg makes one process's groups, with rates and decays of their own."""
    paramwise = {"norm_decay_mult": 0.0, "bias_lr_mult": 2.0, "custom_keys": {"head": {"lr_mult": 0.1}}}
    wrapper = {"optimizer": {**ADAM, "weight_decay": 0.1}, "paramwise_cfg": paramwise}
    expect_as_one_process(subject, optim_wrapper=wrapper)


@behaviour()
def several_optimizers(subject: Subject) -> None:
    """A model with a train_step of its own and an optimizer for each part trains as in one process."""
    one, ranks = subject.alone(_trained_pair), subject.here(_trained_pair)
    expect_same_run(ranks, one, 1e-6)


def _trained_pair(task: Task) -> dict[str, Any]:
    common = {**task.optim_wrapper, "optimizer": SGD}
    runner = task.train(
        "pair",
        model={"type": "ConformancePair"},
        optim_wrapper={"constructor": "ConformancePairConstructor", "maker": common, "judge": common},
        **_NO_VALIDATION,
    )
    return summary(runner)


@behaviour(quick=True)
def batch_norm(subject: Subject) -> None:
    """With SyncBuffersHook all ranks have the same running statistics after an epoch, and the checkpoint has them."""
    found = subject.here(_statistics)
    own = expect_alike([buffers for buffers, _ in found], "buffers")
    state = found[0][1]["state_dict"]
    expect(int(own["bn.num_batches_tracked"]) == 8, "num_batches_tracked is not the number of iterations")
    expect_close({name: state[name] for name in own}, own, "buffers in the checkpoint")


def _statistics(task: Task) -> tuple[dict[str, Any], dict[str, Any]]:
    model = {"type": "ConformanceModel", "batch_norm": True}
    hooks = [{"type": "SyncBuffersHook"}]
    runner = task.train("bn", model=model, custom_hooks=hooks, **_NO_VALIDATION)
    own: Any = runner.strategy.unwrapped_model
    return dict(own.named_buffers()), saved(runner)


@behaviour()
def tied_weights(subject: Subject) -> None:
    """A weight that two layers share is trained once, as in one process."""
    expect_as_one_process(subject, model={"type": "ConformanceModel", "tied": True})


@behaviour()
def activation_checkpointing(subject: Subject) -> None:
    """Blocks whose activations are computed again in the backward give the same numbers."""
    expect_as_one_process(subject, activation_checkpointing=["blocks.0", "blocks.1"])


@behaviour()
def compiled(subject: Subject) -> None:
    """A compiled model trains as it would without."""
    ranks = subject.here(_compiled, {"compile": {"backend": "eager"}})
    expect_same_run(ranks, subject.alone(trained, {}), 1e-5)


def _compiled(task: Task, changes: dict[str, Any]) -> dict[str, Any]:
    warnings.simplefilter("ignore")  # torch warns of what it does itself
    return trained(task, changes, "compiled")

"""What the guard says and writes about a bad step."""

from __future__ import annotations

from typing import Any

from trainwright.base.errors import LossSpikeError, NonFiniteLossError
from trainwright.checkpoint.step_record import StepRecord, state_path
from trainwright.hooks.bad_steps import BadStep
from trainwright.hooks.snapshots import Snapshot, sample_indices


def stop_error(
    bad: BadStep, step_dir: str | None, why: str, is_kept: bool = True
) -> NonFiniteLossError | LossSpikeError:
    """The error that ends a run; ``is_kept``: the folder of the step stays when the run is over."""
    numbers = bad.terms()
    text = f"training was stopped at iteration {bad.iteration} (counted from 0): {bad.reason}"
    text += f" ({numbers})." if numbers else "."
    if why:
        text += f" LossGuardHook: {why}."
    if step_dir is None:
        text += " The weights have been trained since then, and nothing was saved."
    elif not is_kept:
        text += " The fast dev run keeps nothing: train without it to have the step recorded, for trainwright replay."
    else:
        text += (
            f" Training went back to before that step, and no checkpoint has it. The state and the batch are in "
            f"{step_dir}: trainwright replay {step_dir} takes the step again and says where it goes wrong; "
            f"resume={state_path(step_dir)!r} goes on from there."
        )
    knob = "LossGuardHook(policy='skip') leaves out such batches, policy='rollback' goes back to the last checkpoint."
    if bad.is_spike:
        return LossSpikeError(f"{text} Usual cures: a look at that batch, a lower learning rate. {knob}")
    return NonFiniteLossError(
        f"{text} Usual cures: a lower learning rate or a longer warm-up, optim_wrapper=dict(clip_grad=dict(max_norm=1.0"
        f")), a look at that batch, bf16 instead of fp16. {knob}"
    )


def describe_return(bad: BadStep | None, point: Any, now: int, skipped: set[int]) -> str:
    """For the log."""
    where = "memory" if isinstance(point, Snapshot) else point.path
    if bad is None:
        ahead = ", ".join(map(str, sorted(at for at in skipped if at >= point.iteration)))
        return (
            f"LossGuardHook: back to iteration {point.iteration} ({where}); left out from there on are the batches of "
            f"iterations {ahead}"
        )
    return (
        f"LossGuardHook: iteration {bad.iteration} (counted from 0) was bad, found after iteration {now}: "
        f"{bad.reason}. Back to iteration {point.iteration} ({where}), and up to that step again"
    )


def record_of(runner: Any, bad: BadStep, policy: str, batch_idx: int) -> StepRecord:
    """What is known of the step that comes next; its batch has been pulled."""
    strategy, loop = runner.strategy, runner.train_loop
    position = getattr(loop.dataloader, "position", None)
    of = getattr(loop, "_pass", None)
    casts = [getattr(wrapper, "cast_dtype", None) for wrapper in strategy._wrappers()]
    return StepRecord(
        iteration=bad.iteration,
        epoch=runner.epoch,
        batch_idx=batch_idx,
        reason=bad.reason,
        policy=policy,
        losses=bad.losses,
        grad_norms=bad.grad_norms,
        data_epoch=position[0] if position else None if of is None else of.data_epoch,
        sample_indices=sample_indices(loop.dataloader),
        device=str(strategy.device),
        autocast=next((str(cast).removeprefix("torch.") for cast in casts if cast is not None), None),
        seed=strategy.seed,
        world_size=strategy.world_size,
        rank=strategy.rank,
    )

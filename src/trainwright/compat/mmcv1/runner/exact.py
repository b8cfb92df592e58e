"""What a checkpoint holds beyond MMCV's own keys, so that a run goes on exactly where it stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from trainwright.base.version import __version__
from trainwright.dist import all_gather_object
from trainwright.engine.loops.workflow import Turn
from trainwright.engine.passes import without_streams
from trainwright.state import Completing, named_by_class, plain_items, rng
from trainwright.strategies.adopt import unwrapped
from trainwright.strategies.apart import own_buffers, put_buffers

KEY = "trainwright"


def own_state(runner: Any) -> dict[str, Any]:
    """What differs between ranks: random streams, places in the loaders."""
    return {"rng": runner.ctx.training_streams or rng.capture(), "loaders": runner._places()}


def gathered(runner: Any) -> None:
    """Bring the states of all ranks to rank 0, which saves right afterwards; without this it saves its own alone. All
    ranks call it."""
    if runner.world_size > 1:
        own = {**own_state(runner), "buffers": own_buffers(runner.strategy.unwrapped_model)}
        states = all_gather_object(own)
        runner._gathered = runner.iter, dict(enumerate(states))


def run_state(runner: Any) -> dict[str, Any]:
    """The item under :data:`KEY`."""
    at, ranks = runner._gathered or (None, {})
    if at != runner.iter or runner.world_size == 1:
        ranks = {runner.rank: own_state(runner)}
    clock, turn = runner.ctx.clock, runner._turn
    state: dict[str, Any] = {
        "version": __version__,
        "counts": runner.unit,
        "world_size": runner.world_size,
        "progress": tuple(clock.as_completed()),
        "ranks": ranks,
    }
    if turn is not None:
        is_done = clock.completing is (Completing.EPOCH if runner.unit == "epochs" else Completing.ITERATION)
        state["workflow"] = [list(flow) for flow in runner._plan]
        state["turn"] = [turn.phase, turn.done + is_done]
    hooks = {name: hook.state_dict() for name, hook in _stateful(runner).items()}
    state["hooks"], dropped = plain_items(hooks)
    if dropped:
        runner.logger.warning("the states of %s hold more than plain data, and are not saved", ", ".join(dropped))
    if hasattr(runner.log_buffer, "state_dict"):
        state["log_buffer"] = runner.log_buffer.state_dict()
    if any(getattr(hook, "window_is_open", False) for hook in runner.hooks):
        state["gradients"] = runner.strategy.held_gradients()
    return state


def _stateful(runner: Any) -> dict[str, Any]:
    """The hooks with a state, each by a name of its own."""

    def has_state(hook: Any) -> bool:
        ways = getattr(hook, "state_dict", None), getattr(hook, "load_state_dict", None)
        return all(map(callable, ways)) and not isinstance(hook, torch.nn.Module)

    return named_by_class(filter(has_state, runner.hooks))


class Resumption:
    """What is left to put in place when a run that resumes begins."""

    def __init__(self, saved: Mapping[str, Any], rank: int, unclaimed: Mapping[str, torch.Tensor]) -> None:
        self._unclaimed = unclaimed  # weights that the model had no place for when it was loaded
        self.saved: Mapping[str, Any] = tree_map_only(torch.Tensor, lambda tensor: tensor.cpu(), dict(saved))
        ranks = self.saved["ranks"]
        self._own = ranks.get(rank)
        # Of a rank that saved nothing the streams stay as they are; how far it had read, any other one knows.
        others = next(iter(ranks.values()))["loaders"]
        self.places = self._own["loaders"] if self._own else [without_streams(place) for place in others]
        by_epoch = self.saved["counts"] == "epochs"
        self.is_inside_epoch = by_epoch and self.saved["progress"][2] > 0
        self.is_between_epochs = by_epoch and not self.is_inside_epoch  # where loggers forget what they have

    def turn(self, plan: Sequence[tuple[str, int]]) -> Turn:
        """Where a workflow is gone on with; one that was changed begins anew."""
        then = self.saved.get("workflow")
        return Turn(*self.saved["turn"]) if then == [list(flow) for flow in plan] else Turn()

    def place(self, plan: Sequence[tuple[str, int]], index: int) -> dict[str, Any] | None:
        """Where the loader of that phase stood; of a changed workflow the first of each name is meant."""
        then = self.saved.get("workflow")
        if then is None:
            return None
        if then != [list(flow) for flow in plan]:
            name = plan[index][0]
            if [mode for mode, _ in plan].index(name) != index or name not in [mode for mode, _ in then]:
                return None
            index = [mode for mode, _ in then].index(name)
        return self.places[index] if index < len(self.places) else None

    def put_hooks(self, runner: Any) -> None:
        """Give hooks their states, what they have added to the model (EMAHook) its values, this rank its buffers."""
        own = unwrapped(runner.model).state_dict()
        for name, value in self._unclaimed.items():
            if name in own:
                own[name].copy_(value)
        if self._own is not None:
            put_buffers(unwrapped(runner.model), self._own.get("buffers", {}))
        for name, hook in _stateful(runner).items():
            if name in self.saved["hooks"]:
                hook.load_state_dict(self.saved["hooks"][name])

    def put_rest(self, runner: Any) -> None:
        """Random streams, what waits to be logged, gradients of an open window: last, right before the next batch."""
        if not self.is_between_epochs and "log_buffer" in self.saved and hasattr(runner.log_buffer, "load_state_dict"):
            runner.log_buffer.load_state_dict(self.saved["log_buffer"])
        if "gradients" in self.saved:
            runner.strategy.put_gradients(dict(self.saved["gradients"]))
        if self._own is not None:
            rng.restore(self._own["rng"])

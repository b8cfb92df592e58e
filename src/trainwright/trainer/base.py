"""A loop with hooks around a step of your own (API of detectron2's ``engine.train_loop``)."""

from __future__ import annotations

import logging
import operator
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from trainwright import dist
from trainwright.base.errors import ConfigTypeError
from trainwright.engine import Event, HookTable, Phase, open_phase
from trainwright.engine.loops.flat import run_flat
from trainwright.state import Clock, Completing, RunContext, rng
from trainwright.trainer.events import EventStorage
from trainwright.trainer.hook_base import (
    DETECTRON2,
    METHODS,
    POINTS,
    HookBase,
    is_overridden,
    say_strange_points,
    takes_part,
)

# Those that train in this thread, innermost last: a trainer whose run_step() calls that of another is the outer one.
_running: ContextVar[tuple[TrainerBase, ...]] = ContextVar("trainers that train", default=())


class TrainerHooks(HookTable):
    """The hooks of a trainer, in the order in which they came.

    ``methods[name]`` are those of the hooks. The events go there directly, or through the trainer's method of that name
    where a subclass has overridden it.
    """

    def __init__(self, trainer: TrainerBase) -> None:
        super().__init__(weakref.proxy(trainer), DETECTRON2)
        self.methods: dict[str, tuple[Callable[[], None], ...]] = dict.fromkeys(METHODS, ())

    def add(self, hook: Any, priority: int | str | None = None) -> None:
        """Append ``hook``."""
        self.hooks.append(hook)
        self.rebuild()

    def rebuild(self) -> None:
        """Make the tables anew; a training does so when it begins."""
        super().rebuild()
        for name in METHODS:
            self.methods[name] = tuple(getattr(hook, name) for hook in self.hooks if takes_part(hook, name))
        for event, name in POINTS.items():
            if is_overridden(self.host, TrainerBase, name):
                self.calls[event] = (_through(name),)
        self.calls[Event.ON_EXCEPTION] = (lambda host, phase, error: _log_failure(error),)


def _through(name: str) -> Callable[..., None]:
    return lambda host, *values: getattr(host, name)()


def _log_failure(error: BaseException) -> None:
    logging.getLogger(__name__).error("Exception during training:", exc_info=error)


class TrainerBase:
    """Iterations with hooks, and nothing else: no model, no data, no optimizer. A subclass says what a step is.

    ``iter`` is the index of the running iteration, from 0; after all of them it is ``max_iter``, which tells success
    from failure in ``after_train``. ``start_iter`` and ``max_iter`` are those of :meth:`train`. ``storage`` is the
    EventStorage of the last training, open while that lasts.
    """

    storage: EventStorage
    ctx: RunContext  # of the last training

    def __init__(self) -> None:
        self._clock = Clock()
        self._table = TrainerHooks(self)
        self.start_iter: int = 0
        self._loaded: dict[str, Any] | None = None  # a state that the next training may take up
        self.saves_together = False  # while it trains on several ranks: all have the same hooks that save
        self.saves_apart = False  # this one has such hooks, and others have not

    @property
    def iter(self) -> int:
        """Index of the running iteration; after a load that of the last one that was finished."""
        return self._clock.iter

    @iter.setter
    def iter(self, value: int) -> None:
        if value != self._clock.iter:
            self._clock.iter, self._clock.completing = value, Completing.NOTHING

    @property
    def max_iter(self) -> int:
        """Where training ends."""
        return self._clock.max_iters  # type: ignore[return-value]

    @max_iter.setter
    def max_iter(self, value: int) -> None:
        self._clock.max_iters = value

    @property
    def finished_iters(self) -> int:
        """How many iterations are behind: what ``train`` goes on with after a load."""
        if self._loaded is not None:
            return int(self._loaded["finished_iters"])
        return self._stepping._clock.as_completed().iter

    @property
    def _stepping(self) -> TrainerBase:
        """The trainer whose iteration this one's step is part of, or itself. Who makes its steps with another one keeps
        that one's ``iter`` at its own."""
        running = _running.get()
        if not running or running[-1] is self:  # as in each iteration of its own training
            return self
        outer = running[-1]
        return outer if outer.iter in (self.iter, self._clock.as_completed().iter) else self

    @property
    def _hooks(self) -> list[Any]:
        return self._table.hooks

    @_hooks.setter
    def _hooks(self, hooks: Sequence[Any]) -> None:
        self._table.hooks = list(hooks)
        self._table.rebuild()

    def register_hooks(self, hooks: Sequence[HookBase | None]) -> None:
        """Append hooks, which are called in the order of registration; None is skipped."""
        found: list[Any] = [hook for hook in hooks if hook is not None]
        for hook in found:
            if not isinstance(hook, HookBase):
                what = f"the class {hook.__name__} itself" if isinstance(hook, type) else f"a {type(hook).__name__}"
                raise TypeError(
                    f"register_hooks takes a list of HookBase objects and None, but got {what}: {hook!r}. Derive it "
                    "from trainwright.trainer.HookBase, or put a function into a CallbackHook."
                )
        for hook in found:
            say_strange_points(hook)
            hook.trainer = weakref.proxy(self)
            self._table.add(hook)

    # the loop -----------------------------------------------------------------------------------------------------

    def train(self, start_iter: int, max_iter: int) -> None:
        """Iterations ``start_iter`` to ``max_iter - 1``."""
        start_iter, max_iter = _whole("start_iter", start_iter), _whole("max_iter", max_iter)
        logging.getLogger(__name__).info("Starting training from iteration %s", start_iter)
        clock, self.start_iter = self._clock, start_iter
        clock.iter, clock.max_iters, clock.completing = start_iter, max_iter, Completing.NOTHING
        self.ctx = ctx = RunContext(type(self).__name__, self._table, clock)
        self._table.rebuild()
        storage = self.storage = EventStorage(start_iter, clock=clock, metrics=ctx.metrics)
        with self._as_running(), ctx, storage, open_phase(ctx, Phase.TRAIN):
            self._take_up(self._own_state())
            run_flat(ctx, self.run_step)
            self._read_last()

    @contextmanager
    def _as_running(self) -> Iterator[None]:
        token = _running.set((*_running.get(), self))
        self.saves_together, self.saves_apart = _agree_on_saving(self._hooks)
        try:
            yield
        finally:
            _running.reset(token)
            self.saves_together = self.saves_apart = False
            self._close()

    def _close(self) -> None:
        """Give back what is held for a training."""

    def _read_last(self) -> None:
        """Have the values of the last iterations looked at: an error there is one of training."""
        try:
            self.ctx.metrics.flush()
        except BaseException:
            self._clock.iter = self.max_iter - 1
            raise

    def run_step(self) -> None:
        """One iteration, without its hooks."""
        raise NotImplementedError(f"{type(self).__name__} has no run_step(), which is what happens in an iteration.")

    def before_train(self) -> None:
        """Call the hooks before training."""
        for method in self._table.methods["before_train"]:
            method()

    def after_train(self) -> None:
        """Call the hooks after training, whether it succeeded or failed."""
        self._tell_storage()
        for method in self._table.methods["after_train"]:
            method()

    def before_step(self) -> None:
        """Call the hooks before an iteration."""
        self._tell_storage()
        for method in self._table.methods["before_step"]:
            method()

    def after_backward(self) -> None:
        """Call the hooks between a backward and the optimizer's step; to be called by ``run_step``.

        In a trainer that another one makes its steps with, those of the outer one too.
        """
        for method in self._table.methods["after_backward"]:
            method()
        outer = self._stepping
        if outer is not self:
            outer.after_backward()

    def after_step(self) -> None:
        """Call the hooks after an iteration."""
        for method in self._table.methods["after_step"]:
            method()

    def _tell_storage(self) -> None:
        """A loop of a subclass's own, with a storage of its own, has only these methods to tell it the iteration."""
        if hasattr(self, "storage"):
            self.storage.iter = self.iter

    # state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """``iteration``, the last one that is finished; ``hooks``, by class; and what exact resume needs beside it.

        Where there are several ranks that all have hooks which save, all of them call this while they train.
        """
        done = self.finished_iters
        hooks, more = self._hook_states()
        exact: dict[str, Any] = {"finished_iters": done, "world_size": dist.get_world_size()}
        outer = self._stepping
        is_training = outer in _running.get()
        if is_training:
            outer.ctx.metrics.flush()  # a loss that is not finite is found before it is saved
        if outer is self and hasattr(self, "storage"):
            exact["histories"] = self.storage.state_dict()
        own = self._rank_state(outer.saves_together)
        exact["ranks"] = dist.all_gather_object(own) if outer.saves_together else [own]
        if more:
            exact["hooks"] = more
        return {"iteration": max(done - 1, 0), **({"hooks": hooks} if hooks else {}), "exact": exact}

    def _rank_state(self, together: bool) -> dict[str, Any]:
        """What this rank has of its own; with ``together`` all ranks call this."""
        return {"rng": rng.capture()} if self._stepping is self else {}

    def _hook_states(self) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """The state of the first hook of each class, and those of others of the class."""
        first: dict[str, Any] = {}
        more: dict[str, list[Any]] = {}
        for hook in self._hooks:
            if state := hook.state_dict():
                name = type(hook).__qualname__
                if name in first:
                    more.setdefault(name, []).append(state)
                else:
                    first[name] = state
        return first, more

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state. What belongs to one iteration, such as random streams, is put in place by ``train`` when
        it begins where the state was saved."""
        self.iter = state_dict["iteration"]
        exact = state_dict.get("exact") or {"finished_iters": state_dict["iteration"] + 1}
        self._loaded = {**exact, "own": _of_this_rank(exact)}
        more = exact.get("hooks", {})
        for name, first in state_dict.get("hooks", {}).items():
            own = [hook for hook in self._hooks if type(hook).__qualname__ == name]
            states = [first, *more.get(name, [])]
            for hook, state in zip(own, states, strict=False):
                hook.load_state_dict(state)
            if len(own) < len(states):
                logging.getLogger(__name__).warning(
                    "the state has %d hook(s) %s, and this trainer %d of them: what is left over is ignored. Register "
                    "the hooks before loading.",
                    *(len(states), name, len(own)),
                )

    def _own_state(self) -> dict[str, Any]:
        """What this rank had of its own in the state that was loaded, if training goes on where that was saved."""
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return {}
        if self.start_iter != loaded["finished_iters"]:
            logging.getLogger(__name__).warning(
                "the state that was loaded was saved after %d iterations, and training begins at %d: random streams "
                "and data begin anew. To go on exactly: train(trainer.finished_iters, max_iter).",
                *(loaded["finished_iters"], self.start_iter),
            )
            return {}
        if "histories" in loaded and self._stepping is self and hasattr(self, "storage"):
            self.storage.load_state_dict(loaded["histories"])
        return loaded["own"]  # type: ignore[no-any-return]

    def _take_up(self, own: dict[str, Any]) -> None:
        """Put in place what this rank had of its own, right before the first iteration."""
        if "rng" in own:
            rng.restore(own["rng"])


def _whole(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ConfigTypeError(
            f"train() needs whole numbers, start_iter and max_iter, but got {name}={value!r} of type "
            f"{type(value).__name__}."
        ) from None


def training_under_way() -> RunContext | None:
    """The context of the innermost training of this thread, None outside of any."""
    running = _running.get()
    return running[-1].ctx if running else None


def _of_this_rank(exact: dict[str, Any]) -> dict[str, Any]:
    """What this rank had of its own. Where rank 0 alone has saved, the others have its state under ``rank0``."""
    items, n_ranks = exact.get("ranks", []), dist.get_world_size()
    if len(items) == n_ranks == exact.get("world_size"):
        return items[dist.get_rank()]  # type: ignore[no-any-return]
    if not items:
        return {}
    logging.getLogger(__name__).warning(
        "the state has the random streams of %d of %s rank(s), and there are %d now: others begin anew. For an exact "
        "resume train with as many ranks, and register the hook that saves on all of them.",
        *(len(items), exact.get("world_size"), n_ranks),
    )
    if exact.get("world_size") != n_ranks:
        return {}
    return items[0] if dist.get_rank() == 0 else {"rank0": items[0]}


def _agree_on_saving(hooks: Sequence[Any]) -> tuple[bool, bool]:
    """Whether all ranks have the same hooks that save, so that they can save together; whether this rank has hooks that
    save, and other ranks have not. All ranks call this."""
    if dist.get_world_size() == 1:
        return False, False
    own = [type(hook).__qualname__ for hook in hooks if getattr(hook, "saves_state", False)]
    everywhere = dist.all_gather_object(own)
    together = all(other == own for other in everywhere)
    if not together and own:
        logging.getLogger(__name__).warning(
            "only some ranks have %s: their checkpoints lack the random streams and the data position of the others. "
            "Register it on all ranks; rank 0 alone writes.",
            " and ".join(own),
        )
    return bool(own) and together, bool(own) and not together

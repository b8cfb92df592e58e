"""Runner's hooks: registering and calling them."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from trainwright.engine import HookProfile, priority_name
from trainwright.engine.core import begin_training, leave_if_interrupted
from trainwright.engine.loops import follow_counters
from trainwright.runner import builders
from trainwright.runner.parts import RunnerParts
from trainwright.runner.spec import DEFAULT_HOOKS
from trainwright.state import Completing


class HookMixin(RunnerParts):
    """Registering and calling hooks."""

    @property
    def hooks(self) -> list[Any]:
        """The registered hooks in the order in which they are called."""
        return self._table.hooks

    @property
    def _hooks(self) -> list[Any]:
        return self._table.hooks

    @_hooks.setter
    def _hooks(self, hooks: list[Any]) -> None:
        self._table.hooks = hooks
        self._table.rebuild()

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the method ``fn_name`` of all hooks that have one, in order, as ``hook.fn_name(runner, **kwargs)``.

        Loops of your own fire the events of an iteration through this.
        """
        clock = self.ctx.clock
        follow_counters(self._loops.get("train"), clock)
        if fn_name == "before_train":
            begin_training(self.ctx)
        elif fn_name in ("before_train_epoch", "before_train_iter"):
            leave_if_interrupted(self.ctx)
        elif fn_name == "after_train_iter":
            clock.completing = Completing.ITERATION
        elif fn_name == "after_train_epoch":
            clock.completing = Completing.EPOCH
        self._table.fire_named(fn_name, **kwargs)

    def register_hook(self, hook: Any, priority: str | int | None = None) -> None:
        """Insert a hook or its config by priority: the argument, else ``hook['priority']``, else the hook's own.

        Hooks of one priority are called in the order of their registration.
        """
        built, from_cfg = builders.build_hook(hook)
        self._table.add(built, from_cfg if priority is None else priority)

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """Register the six default hooks, changed by ``hooks``; an entry that is None takes that hook out.

        RuntimeInfoHook (10), IterTimerHook (50), DistSamplerSeedHook (50), LoggerHook (60), ParamSchedulerHook (70),
        CheckpointHook with interval 1 (90).
        """
        for hook in builders.merge_default_hooks(DEFAULT_HOOKS, hooks).values():
            self.register_hook(hook)

    def register_custom_hooks(self, hooks: list[Any]) -> None:
        """Register the user's hooks in their order."""
        for hook in hooks:
            self.register_hook(hook)

    def register_hooks(
        self, default_hooks: dict[str, Any] | None = None, custom_hooks: list[Any] | None = None
    ) -> None:
        """Register default hooks, then custom ones."""
        self.register_default_hooks(default_hooks)
        self.register_custom_hooks(custom_hooks or [])

    def profile_hooks(self, timer: Callable[[], float] = perf_counter) -> None:
        """Measure from now on what each hook costs at each event; the table is logged when the work ends.

        ``timer`` gives seconds. Costs some microseconds a call while it is on. ``trainwright train --profile-hooks``.
        """
        self._table.profile = HookProfile(timer)

    def get_hooks_info(self) -> str:
        """For each event, in order of a run, the hooks that take part with their priorities; after
        :meth:`profile_hooks` also what they cost."""
        blocks: list[str] = []
        by_stage = [(hook, set(hook.get_triggered_stages())) for hook in self.hooks]
        for stage in self.hooks[0].stages if self.hooks else ():
            lines = [f"({priority_name(h.priority):<12}) {type(h).__name__:<35}" for h, on in by_stage if stage in on]
            if lines:
                blocks.append("\n".join([f"{stage}:", *lines, " -------------------- "]))
        profile = self._table.profile
        return "\n".join(blocks if profile is None else [*blocks, profile.report()])

"""Freezes parts of the model for a while."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from trainwright.base.errors import ConfigError
from trainwright.engine import NEVER, Hook
from trainwright.hooks.intervals import whole_number
from trainwright.hooks.module_patterns import checked_patterns, matches, parameters_by_pattern
from trainwright.registry import HOOKS


@HOOKS.register_extra
class FreezeHook(Hook):
    """Keeps parameters from being trained from epoch (iteration, with ``by_epoch=False``) `begin` up to, not with,
    `end`; None is the end of the training.

    `modules`: patterns on dotted names, in which * stands for anything; the name of a module means all of it:
    ``['backbone', 'neck.*.bias']``. A frozen parameter gets no gradient, so optimizers leave it and its state alone,
    and it is trained on from there when it thaws. With `norm_eval` norm layers with running statistics that lie in a
    frozen module keep these. Several of these hooks make a schedule; a parameter thaws when the last one lets it go.

    What is frozen is a function of epoch and iteration alone, so that a resume finds it again. Parameters that were
    frozen by other means stay so.
    """

    # Before hooks that look at gradients or weights; after it is settled which epoch runs.
    priority = "HIGH"

    def __init__(
        self,
        modules: list[str] | str,
        begin: int = 0,
        end: int | None = None,
        by_epoch: bool = True,
        norm_eval: bool = True,
    ) -> None:
        self.modules = checked_patterns(self, "modules", modules)
        self.begin = whole_number(self, "begin", begin, 0)
        self.end = None if end is None else whole_number(self, "end", end)
        if self.end is not None and self.end <= begin:
            raise ConfigError(f"FreezeHook end={end} must be larger than begin={begin}: nothing would be frozen.")
        self.by_epoch = by_epoch
        self.norm_eval = norm_eval
        self.is_frozen = False
        self.frozen: dict[str, nn.Parameter] = {}
        self._norms: list[nn.Module] = []  # that this hook keeps in evaluation mode
        self._has_norms = False  # whether they have been chosen
        self._due_iter = NEVER  # the iteration before which something changes next

    def before_train(self, runner: Any) -> None:
        """Bring the model to where the clock stands; ConfigError for a pattern that fits nothing."""
        self._parameters(runner)
        self._settle(runner)

    def before_train_epoch(self, runner: Any) -> None:
        """Freeze or thaw by epoch."""
        self._settle(runner)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Freeze or thaw by iteration, and keep norms in evaluation mode, which ``model.train()`` takes them out of."""
        if runner.ctx.clock.iter >= self._due_iter:
            self._settle(runner)
            if self._due_iter == runner.ctx.clock.iter:
                self._choose_norms(runner)
                self._settle(runner)
        for norm in self._norms:
            if norm.training:
                norm.training = False

    def _settle(self, runner: Any) -> None:
        """What holds at this epoch and iteration, and when that changes."""
        clock = runner.ctx.clock
        now = clock.epoch if self.by_epoch else clock.iter
        within = self.begin <= now and (self.end is None or now < self.end)
        if within and not self.is_frozen:
            self._freeze(runner)
        elif not within and self.is_frozen:
            self._thaw(runner)
        changes = [at for at in (self.begin, self.end) if at is not None and at > now]
        self._due_iter = NEVER if self.by_epoch or not changes else min(changes)
        if self.is_frozen and self.norm_eval and not self._has_norms:
            self._due_iter = clock.iter  # norms are chosen before the iteration, when the model is in training mode

    def _freeze(self, runner: Any) -> None:
        model = runner.strategy.unwrapped_model
        others = self._held_by_others(runner)
        self.is_frozen = True
        for own in self._parameters(runner).values():
            for name, parameter in own.items():
                if parameter.requires_grad or id(parameter) in others:
                    self.frozen[name] = parameter
                    parameter.requires_grad_(False)
                    parameter.grad = None  # of an open accumulation window: the optimizer would use it
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ConfigError(
                f"FreezeHook modules={self.modules!r} leaves nothing of {type(model).__name__} to train at iteration "
                f"{runner.iter}. Take a pattern out, or end it before others begin."
            )
        runner.strategy.trainable_changed()
        runner.logger.info(
            "FreezeHook: %d parameters of %s are frozen before epoch %d, iteration %d",
            len(self.frozen),
            self.modules,
            runner.epoch + 1,
            runner.iter + 1,
        )

    def _thaw(self, runner: Any) -> None:
        others = self._held_by_others(runner)
        for parameter in self.frozen.values():
            if id(parameter) not in others:
                parameter.requires_grad_(True)
        runner.strategy.trainable_changed()
        runner.logger.info(
            "FreezeHook: %s is trained again before epoch %d, iteration %d",
            self.modules,
            runner.epoch + 1,
            runner.iter + 1,
        )
        kept = self._norms_of_others(runner)
        for norm in self._norms:
            if norm not in kept:
                norm.training = True
        self.is_frozen = self._has_norms = False
        self.frozen, self._norms = {}, []

    def _choose_norms(self, runner: Any) -> None:
        """Those that would be trained: a model may keep some in evaluation mode by itself."""
        self._has_norms = True
        kept = self._norms_of_others(runner)
        own = [norm for name, norm in _norms_of(runner).items() if any(matches(name, p) for p in self.modules)]
        self._norms = [norm for norm in own if norm.training or norm in kept]

    def _parameters(self, runner: Any) -> dict[str, dict[str, nn.Parameter]]:
        return parameters_by_pattern(self, runner.strategy.unwrapped_model, self.modules, list(_norms_of(runner)))

    def _others(self, runner: Any) -> list[FreezeHook]:
        return [hook for hook in runner.hooks if isinstance(hook, FreezeHook) and hook is not self]

    def _held_by_others(self, runner: Any) -> set[int]:
        return {id(parameter) for hook in self._others(runner) for parameter in hook.frozen.values()}

    def _norms_of_others(self, runner: Any) -> set[nn.Module]:
        return {norm for hook in self._others(runner) for norm in hook._norms}


def _norms_of(runner: Any) -> dict[str, nn.Module]:
    """Norm layers that may have running statistics, by name."""
    modules = runner.strategy.unwrapped_model.named_modules()
    return {name: module for name, module in modules if isinstance(module, _NormBase)}

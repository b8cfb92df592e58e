"""An evaluation every so many iterations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainwright.base.errors import ConfigTypeError, EvalResultError
from trainwright.dist import barrier
from trainwright.trainer.hook_base import HookBase


class EvalHook(HookBase):
    """Calls ``eval_function()`` every ``eval_period`` iterations and, with ``eval_after_train``, after the last one.

    It returns a dict of numbers, nested as deep as it likes, or nothing: ``{"box": {"AP": 1.0}}`` is put as
    ``box/AP``, without smoothing. A period of 0 evaluates at the end only. All ranks call it, and wait for each other.
    """

    def __init__(self, eval_period: int, eval_function: Callable[[], Any], eval_after_train: bool = True) -> None:
        if not callable(eval_function):
            raise ConfigTypeError(
                f"EvalHook eval_function must be a function without arguments, but got {eval_function!r} of type "
                f"{type(eval_function).__name__}: lambda: test(model)."
            )
        self._period = eval_period
        self._func = eval_function
        self._eval_after_train = eval_after_train

    def _do_eval(self) -> None:
        results = self._func()
        if results:
            if not isinstance(results, Mapping):
                raise EvalResultError(
                    f"EvalHook: the evaluation function must return a dict of numbers, or nothing, but returned "
                    f"{results!r} of type {type(results).__name__}."
                )
            storage = self.trainer.storage
            for name, value in [(name, _number(name, value)) for name, value in flat(results)]:
                storage.put_scalar(name, value, smoothing_hint=False)
        barrier()  # evaluations take longer on some ranks: the next iteration begins together

    def after_step(self) -> None:
        """Evaluate, when it is time; the one after the last iteration is after_train's."""
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._do_eval()

    def after_train(self) -> None:
        """Evaluate, unless training broke off."""
        if self._eval_after_train and self.trainer.iter + 1 >= self.trainer.max_iter:
            self._do_eval()


def flat(results: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """``(name, value)`` of nested results, names joined by "/"."""
    for name, value in results.items():
        if isinstance(value, Mapping):
            for inner, deep in flat(value):
                yield f"{name}/{inner}", deep
        else:
            yield name, value


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except Exception as error:
        raise EvalResultError(
            f"EvalHook: the evaluation function must return numbers, but {name} is {value!r} of type "
            f"{type(value).__name__}. Leave it out of what is returned, or make a number of it."
        ) from error

"""How long training may go on where that is a time or a number of tokens: known only while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import torch

from trainwright.base.durations import SECONDS, TOKENS, Duration, parse_duration, whole_number
from trainwright.base.errors import ConfigError
from trainwright.dist import all_gather_object, data_group, data_info
from trainwright.engine.loops.tokens import Tokens, check_tokens, tokens_in
from trainwright.state import RunContext

_LONGEST_SLEEP_S = 30.0
_OWNER = "train_cfg"


def iters_until_look(left_s: float, n_iters: int, took_s: float) -> int:
    """How many iterations on to look at the clock again, when `left_s` seconds are left and the last `n_iters` took
    `took_s`: when half of the time left may have passed, at least twice a minute.
    """
    if n_iters == 0:
        return 1
    ahead = max(int(min(left_s / 2, _LONGEST_SLEEP_S) * n_iters / max(took_s, 1e-6)), 1)
    # The iterations known so far may be too few to judge by: the way to the next look grows step by step.
    return min(ahead, 2 * n_iters)


def planned_end(
    name: str, kind: str, value: float | str | None, max_duration: str | None, tokens: Tokens | None
) -> tuple[int | None, Budget | None]:
    """What ends a training: its `name` (max_epochs, in `kind`), and what it may spend; None where there is none."""
    if max_duration is None:
        if tokens is not None:
            raise ConfigError(f"train_cfg has tokens={tokens!r}, and no max_duration that counts them ('300M tok').")
        return whole_number(value, name, kind), None
    duration = parse_duration(max_duration, "max_duration")
    if duration.kind in (SECONDS, TOKENS):
        return None if value is None else whole_number(value, name, kind), Budget(duration, tokens)
    if duration.kind != kind:
        raise ConfigError(
            f"max_duration={max_duration!r} does not fit this loop, whose end is {name}: set by_epoch={kind == 'it'}, "
            "or give it in the other unit."
        )
    if value is not None:
        raise ConfigError(f"train_cfg has both {name}={value!r} and max_duration={max_duration!r}: drop one of them.")
    if tokens is not None:
        raise ConfigError(f"train_cfg has tokens={tokens!r}, and max_duration={max_duration!r} counts none.")
    return int(duration.amount), None


class Budget:
    """A number of tokens of all ranks, or of seconds, and what is spent of it.

    It ends the batches, between two iterations and not within an accumulation window, once it is spent. The ranks agree
    on that when they look: with one rank tokens are compared each time, with several when the largest iteration so far
    could have spent the rest, and time as MaxTimeHook does, by the first rank's clock. Time counts from where training
    begins, validation and saving too, and both go on after a resume.
    """

    def __init__(self, duration: Duration, tokens: Tokens | None = None) -> None:
        if duration.kind == TOKENS and tokens is None:
            raise ConfigError(
                f"train_cfg has max_duration='{duration}', and does not say how tokens are counted: set "
                "tokens='input_ids', the key of the batch whose tensor has one element a token."
            )
        if tokens is not None:
            if duration.kind != TOKENS:
                raise ConfigError(f"train_cfg has tokens={tokens!r}, and max_duration='{duration}' counts none.")
            check_tokens(tokens, _OWNER)
        self.limit, self.kind, self.tokens = duration.amount, duration.kind, tokens
        self.text = str(duration)
        self.n_tokens: Any = 0  # of this rank; an int, or a tensor where a function counts on the device
        self.is_spent = False
        self._largest: Any = 0
        self._earlier_s = 0.0
        self._started: float | None = None
        self._next = 0
        self._waits: Callable[[], bool] = bool  # False
        self._looked_at = (0, 0.0)  # iteration and time of the last look

    @property
    def is_running(self) -> bool:
        """Whether training has begun and not ended."""
        return self._started is not None

    @property
    def elapsed_s(self) -> float:
        """Seconds that count so far."""
        return self._earlier_s + (0.0 if self._started is None else perf_counter() - self._started)

    def start(self, ctx: RunContext, waits: Callable[[], bool] = bool) -> bool:
        """Training begins, or goes on; whether it is over already. It does not end while `waits()`."""
        self._waits = waits
        self._started = perf_counter()
        self._next, self._looked_at = ctx.clock.iter, (ctx.clock.iter, self._started)
        return self.over(ctx)

    def stop(self) -> None:
        """Training is over; whatever is saved from now on has the time so far."""
        self._earlier_s, self._started = self.elapsed_s, None

    def batches(self, batches: Iterator[Any], ctx: RunContext) -> Iterator[Any]:
        """The batches, counted, until the budget is spent."""
        if self.over(ctx):
            return
        for batch in batches:
            if self.tokens is not None:
                self._count(tokens_in(batch, self.tokens, _OWNER))
            yield batch
            if self.over(ctx):
                return

    def _count(self, n: Any) -> None:
        self.n_tokens = self.n_tokens + n
        if isinstance(n, torch.Tensor):
            self._largest = torch.maximum(torch.as_tensor(self._largest, device=n.device), n)
        else:
            self._largest = max(self._largest, n)

    def over(self, ctx: RunContext, *, has_paused: bool = False) -> bool:
        """Whether training ends here, between two iterations; `has_paused`: time may have passed without iterations."""
        done, has_paused = ctx.clock.iter, has_paused and self.kind == SECONDS
        if not self.is_spent and (done >= self._next or has_paused or self._is_reached_alone()) and not self._waits():
            self._look(done)
        return self.is_spent and (ctx.stop.may_interrupt is None or ctx.stop.may_interrupt())

    def _is_reached_alone(self) -> bool:
        counted = self.kind == TOKENS and not isinstance(self.n_tokens, torch.Tensor)
        return counted and data_info()[1] == 1 and bool(self.n_tokens >= self.limit)

    def _look(self, done: int) -> None:
        now = perf_counter()
        group = None if self.kind == SECONDS else data_group()
        shares = all_gather_object((self.elapsed_s, int(self.n_tokens), int(self._largest)), group)
        if self.kind == SECONDS:
            left = self.limit - shares[0][0]
            before, at = self._looked_at
            plan = [iters_until_look(left, done - before, now - at)]
        else:
            left = self.limit - sum(share[1] for share in shares)
            largest = sum(share[2] for share in shares)
            plan = [int(left // largest) if largest else 1]
        if self.kind == SECONDS:
            plan = all_gather_object(plan)[0]  # ranks must look in the same iteration
        self.is_spent = left <= 0
        self._looked_at, self._next = (done, now), done + max(plan[0], 1)

    def state_dict(self) -> dict[str, Any]:
        """Tokens of each data rank and seconds so far; reads the device where tokens are counted there."""
        n_tokens = [int(n) for n in all_gather_object(int(self.n_tokens), data_group())]
        return {"n_tokens": n_tokens, "elapsed_s": self.elapsed_s}

    def load_state_dict(self, state: dict[str, Any], rank: int = 0) -> None:
        """Go on from what was spent. Time never goes back: what has passed in this process has passed."""
        counts = state["n_tokens"]
        total = sum(counts)
        # With another number of ranks the whole is what counts: the first one takes it.
        self.n_tokens = counts[rank] if len(counts) == data_info()[1] else total if rank == 0 else 0
        running = self._started is not None
        self._earlier_s = max(float(state["elapsed_s"]), self.elapsed_s)
        self._started = perf_counter() if running else None
        self.is_spent, self._largest, self._next = False, 0, 0

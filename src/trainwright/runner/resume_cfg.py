"""What ``resume_cfg`` may say, and whether the samples of a resumed run go on where they stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trainwright.base.errors import CheckpointError, ConfigError
from trainwright.base.text import did_you_mean
from trainwright.checkpoint.weights import STRIP_MODULE, ReviseKeys
from trainwright.data import KeyedDataLoader
from trainwright.data.loader_state import KNOB, of_this_rank
from trainwright.dist import data_info, is_same_layout, item_of_rank
from trainwright.engine.loops import TrainLoop
from trainwright.engine.rewind import Place, states_of
from trainwright.state import Stateful


@dataclass(frozen=True)
class ResumeCfg:
    """``resume_cfg=dict(...)`` of a run.

    ``resume_optimizer``, ``resume_param_scheduler``: False begins them anew. ``map_location``: where tensors of the
    file are put on reading it. ``revise_keys``: pairs of a regular expression and its replacement for names of weights.
    ``strict``: whether every weight must be there; None means that it must for a resume, and not for ``load_from``
    alone. ``allow_inexact``: go on although the order of the samples cannot be kept.
    """

    resume_optimizer: bool = True
    resume_param_scheduler: bool = True
    map_location: str = "default"
    revise_keys: ReviseKeys = field(default_factory=lambda: STRIP_MODULE)
    strict: bool | None = None
    allow_inexact: bool = False

    @classmethod
    def from_cfg(cls, cfg: dict[str, Any] | None) -> ResumeCfg:
        """Read and check the dict."""
        known = list(cls.__dataclass_fields__)
        for name, value in (cfg or {}).items():
            if name not in known:
                raise ConfigError(
                    f"resume_cfg has no setting {name!r}; it takes {', '.join(known)}.{did_you_mean(str(name), known)}"
                )
            plain = name not in ("map_location", "revise_keys")
            if plain and not isinstance(value, bool) and not (name == "strict" and value is None):
                raise ConfigError(f"resume_cfg {name} must be True or False, but got {value!r}.")
        settings = dict(cfg or {})
        if "revise_keys" in settings:
            pairs = settings["revise_keys"]
            if not isinstance(pairs, (list, tuple)) or not all(
                isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs
            ):
                raise ConfigError(
                    "resume_cfg revise_keys must be a list of pairs of a regular expression and its replacement, as in "
                    f"[('^backbone.', '')], but got {pairs!r}."
                )
            settings["revise_keys"] = [tuple(pair) for pair in pairs]
        return cls(**settings)

    def of_resume(self) -> dict[str, Any]:
        """Arguments of ``Runner.resume``."""
        settings = {name: getattr(self, name) for name in ("resume_optimizer", "resume_param_scheduler")}
        return {**settings, **self._weights(self.map_location, True)}

    def of_load(self) -> dict[str, Any]:
        """Arguments of ``Runner.load_checkpoint``."""
        return self._weights("cpu" if self.map_location == "default" else self.map_location, False)

    def _weights(self, map_location: str, strict: bool) -> dict[str, Any]:
        strict = strict if self.strict is None else self.strict
        return {"map_location": map_location, "strict": strict, "revise_keys": self.revise_keys}


@dataclass(frozen=True)
class GlobalBatch:
    """The samples behind one update: those of all data ranks, in all iterations of an accumulation window."""

    world_size: int
    per_rank: int
    accumulation: int

    @property
    def per_iteration(self) -> int:
        """Samples of all ranks in one iteration."""
        return self.world_size * self.per_rank

    @property
    def samples(self) -> int:
        """Samples of one update."""
        return self.per_iteration * self.accumulation

    def __str__(self) -> str:
        return f"{self.world_size} x {self.per_rank} x {self.accumulation} = {self.samples}"


def global_batch(runner: Any, loader: Any) -> GlobalBatch | None:
    """That of this run with ``loader``; None where it is not fixed, or several optimizers have windows of their own."""
    wrapper = runner.optim_wrapper
    batch_sampler = getattr(loader, "batch_sampler", None)
    size = getattr(loader, "batch_size", None) if batch_sampler is None else getattr(batch_sampler, "batch_size", None)
    counts = getattr(wrapper, "_accumulative_counts", None)
    if not isinstance(size, int) or not isinstance(counts, int):
        return None
    return GlobalBatch(data_info()[1], size, counts)


def check_global_batch(runner: Any, tree: dict[str, Any], allow_inexact: bool) -> None:
    """Refuse a checkpoint whose samples this run could not go on with in their order, unless that is allowed.

    The order of all samples is kept when an update uses as many as before: ranks x batch size x accumulation.
    """
    now, saved = global_batch(runner, runner.train_dataloader), tree["meta"].get("global_batch")
    if now is None or not saved:
        return
    before = GlobalBatch(*(int(saved[name]) for name in ("world_size", "per_rank", "accumulation")))
    problem = _problem(runner, tree, before, now)
    if not problem:
        return
    if not allow_inexact:
        raise CheckpointError(problem)
    runner.logger.warning("%s It goes on all the same, because %s says so.", problem.partition(" Or set ")[0], KNOB)


def _problem(runner: Any, tree: dict[str, Any], before: GlobalBatch, now: GlobalBatch) -> str:
    rule = "ranks x batch_size x accumulative_counts"
    if before.samples != now.samples:
        used = int(of_this_rank(tree.get("loader") or {})[0].get("consumed_samples", 0))
        again = used % now.per_iteration
        return (
            f"the checkpoint was trained with {rule} = {before} samples an update, and this run has {now}: the samples "
            f"would not go on as they began. {_cures(before, now)} Or set {KNOB} to go on from the nearest position: "
            f"{again} of the {used} samples used of this epoch would be seen again, none left out."
        )
    if before.accumulation == now.accumulation:
        return ""
    what = f"accumulative_counts was {before.accumulation} and is {now.accumulation}, so an iteration is another one"
    if "gradients" in tree:
        return (
            f"{what}, and the checkpoint was saved inside an accumulation window: its gradients belong to iterations "
            f"of then. Take a checkpoint that was saved at the end of a window. Or set {KNOB} to keep them as they are."
        )
    schedulers = getattr(runner.strategy, "param_schedulers", None) or []
    flat = [item for items in schedulers.values() for item in items] if isinstance(schedulers, dict) else schedulers
    if not runner.by_epoch or any(not getattr(scheduler, "by_epoch", True) for scheduler in flat):
        return (
            f"{what}, and {'max_iters' if not runner.by_epoch else 'a param_scheduler'} counts iterations. Keep "
            f"accumulative_counts={before.accumulation}, with a batch_size of "
            f"{before.samples // (now.world_size * before.accumulation)}. Or set {KNOB} to keep the counts as they are."
        )
    return ""


def _cures(before: GlobalBatch, now: GlobalBatch) -> str:
    parts = []
    for setting, unit in (
        ("train_dataloader.batch_size", now.world_size * now.accumulation),
        ("optim_wrapper.accumulative_counts", now.per_iteration),
    ):
        if before.samples % unit == 0:
            parts.append(f"{setting}={before.samples // unit}")
    if not parts:
        return (
            f"{before.samples} cannot be shared out to {now.world_size} ranks; use a number of ranks that divides it."
        )
    return f"Set {' or '.join(parts)} to keep them."


def take_over_position(runner: Any, loop: Any, tree: dict[str, Any], allow_inexact: bool) -> None:
    """Put the loader where the checkpoint's was, and the counters of an epoch with it where iterations have changed."""
    loader, clock = loop.dataloader, runner.ctx.clock
    if isinstance(loader, KeyedDataLoader):
        loader.allow_inexact = allow_inexact
    state = tree["loader"]
    if not isinstance(loader, KeyedDataLoader) and isinstance(state, dict) and "by_rank" in state:
        state = of_this_rank(state)[0]
    loader.load_state_dict(state)
    loop.enters_quietly = not isinstance(loader, KeyedDataLoader) and clock.inner_iter > 0
    now, saved = global_batch(runner, runner.train_dataloader), tree["meta"].get("global_batch")
    if not isinstance(loader, KeyedDataLoader) or now is None or not saved or not runner.by_epoch:
        return
    if now.per_iteration == saved["world_size"] * saved["per_rank"] or clock.epoch_length is None:
        return
    used = loader.position[1] if clock.inner_iter else 0
    clock.inner_iter = used
    clock.iter = clock.epoch * clock.epoch_length + used


def take_over_pass(runner: Any, loop: Any, tree: dict[str, Any]) -> None:
    """Of a loader without a position: what decided the order of the pass that was under way, where this rank has been
    there, so that the batches to drop are those that were used."""
    places, data_size = tree.get("data_pass") or [], tree["meta"].get("data_size")
    if not isinstance(loop, TrainLoop) or isinstance(loop.dataloader, Stateful):
        return
    if not places or not is_same_layout(len(places), data_size):
        return
    place = Place.of_state(item_of_rank(places, data_size, any_will_do=False))
    n_then, n_now = len(place.generators), len(states_of(loop.dataloader))
    if n_then == n_now:
        loop.return_to(place)
        return
    runner.logger.warning(
        "the train_dataloader has %d generator(s) of its own and had %d when the checkpoint was saved: its order is "
        "another one.",
        *(n_now, n_then),
    )

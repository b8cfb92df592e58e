"""The strategies of trainwright as the suite asks them: the columns of the table in docs/conformance.md."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainwright.strategies.deepspeed import imported_deepspeed
from trainwright.testing.conformance.subject import Subject


@dataclass(frozen=True)
class Column:
    """A strategy and a number of ranks, with the behaviours it does not have, each with the reason.

    The other fields are those of :class:`Subject`. `needs`: a package without which it cannot be asked, and `import_it`
    imports that.
    """

    name: str
    strategy: Mapping[str, Any] | None
    n_ranks: int = 1
    n_data_ranks: int | None = None
    gaps: Mapping[str, str] = field(default_factory=dict)
    optim_wrapper: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    needs: str | None = None
    import_it: Callable[[], object] | None = None
    timeout_s: float = 120.0

    @property
    def can_be_asked(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or find_spec(self.needs) is not None

    def subject(self, folder: Path) -> Subject:
        """The strategy, to be asked below `folder`. What it needs is imported here, once, and not by each rank."""
        if self.import_it is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those of others
                self.import_it()
        return Subject(
            self.strategy,
            self.n_ranks,
            folder,
            n_data_ranks=self.n_data_ranks,
            optim_wrapper=self.optim_wrapper,
            settings=self.settings,
            timeout_s=self.timeout_s,
        )


_NO_COPIES = {"desync_is_found": "no weight is on two ranks: there is nothing to compare"}
_PLAN = {"blocks.*.fc1": "colwise", "blocks.*.fc2": "rowwise"}
_PLAN_OF_PAIR = {"maker.0": "colwise", "maker.1": "rowwise"}
_FSDP = {"type": "FSDPStrategy", "wrap": ["ConformanceBlock"]}
_OF_PAIR = {"several_optimizers": {"wrap": ["Linear"]}}
_DEEPSPEED_GAPS = {
    "clip_by_value": "from ZeRO stage 1 on DeepSpeed clips by the norm, and by nothing else: refused",
    "norms_of_parts": "from ZeRO stage 1 on gradients lie in buffers of the engine, which says one norm: refused",
    "no_exchange_in_a_window": "at ZeRO stage 2 each backward divides its gradients among the ranks",
    "amp_bfloat16": "the engine has half precision of its own, bf16=dict(enabled=True): refused",
    "amp_float16_overflow": "the engine has half precision of its own, fp16=dict(enabled=True): refused",
    "freezing_for_a_while": "from ZeRO stage 1 on the engine notes once which parameters are trained: refused",
    "several_optimizers": "the engine has one optimizer: refused",
    "no_host_reads_between_logs": "from ZeRO stage 1 on DeepSpeed reads the norm of the gradients in each step",
    "desync_is_found": "each step writes all weights anew from the parts of the ranks: a flipped bit does not stay",
    "exact_in_a_window": "at ZeRO stage 2 gradients of an open window lie in the engine, and are not saved",
    "exact_with_a_scaler": "the engine has half precision of its own, fp16=dict(enabled=True): refused",
}

_ALL = (
    Column("single", None),
    Column(
        "DDP x2",
        {"type": "DDPStrategy"},
        2,
        settings={"several_optimizers": {"model_wrapper": {"type": "MMSeparateDistributedDataParallel"}}},
    ),
    Column("FSDP x2", _FSDP, 2, gaps=_NO_COPIES, settings=_OF_PAIR),
    Column("FSDP x4", _FSDP, 4, gaps=_NO_COPIES, settings=_OF_PAIR),
    Column("HSDP 2x2", {**_FSDP, "replicate": 2}, 4, settings=_OF_PAIR),
    Column(
        "TP x2",
        {"type": "TensorParallelStrategy", "plan": _PLAN},
        2,
        n_data_ranks=1,
        settings={"several_optimizers": {"plan": _PLAN_OF_PAIR}},
    ),
    Column(
        "TP x FSDP 2x2",
        {**_FSDP, "tensor_parallel": {"size": 2, "plan": _PLAN}},
        4,
        n_data_ranks=2,
        settings={"several_optimizers": {"wrap": ["Linear"], "tensor_parallel": {"size": 2, "plan": _PLAN_OF_PAIR}}},
    ),
    Column(
        "DeepSpeed x2",
        {"type": "DeepSpeedStrategy", "zero_optimization": {"stage": 2}},
        2,
        gaps=_DEEPSPEED_GAPS,
        needs="deepspeed",
        import_it=imported_deepspeed,
        timeout_s=240.0,
    ),
)
COLUMNS = {column.name: column for column in _ALL}

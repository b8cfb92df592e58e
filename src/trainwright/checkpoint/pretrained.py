"""The initialiser that takes weights from a file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import nn

from trainwright.base.errors import CheckpointError
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean
from trainwright.checkpoint.format import MapLocation
from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.checkpoint.weights import STRIP_MODULE, load_weights, revised, weights_of
from trainwright.model.init_record import RECORD, update_init_info
from trainwright.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module(name="Pretrained")
class PretrainedInit:
    """Loads the weights of the file `checkpoint` into a module: those that fit; what does not is logged.

    `prefix`: only the part under that name, such as ``backbone``, without it. It is read like every checkpoint: no
    code runs. It lives in this room, above the models, and is found by the registry.
    """

    def __init__(self, checkpoint: str, prefix: str | None = None, map_location: MapLocation = "cpu") -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location

    def __call__(self, module: nn.Module) -> None:
        """Load, and note it in the record of ``init_weights``, where there is one."""
        what = f"{type(module).__name__} gets " + (f"{self.prefix!r} of " if self.prefix else "")
        print_log(f"{what}the pretrained weights in {self.checkpoint}", "current")
        state = revised(weights_of(read_checkpoint(self.checkpoint, self.map_location)), STRIP_MODULE)
        if self.prefix is not None:
            state = self._part(state, self.prefix)
        load_weights(module, {"state_dict": state}, strict=False)
        if hasattr(module, RECORD):
            update_init_info(module, self._get_init_info())

    def _part(self, state: Mapping[str, Any], prefix: str) -> OrderedDict[str, Any]:
        start = prefix if prefix.endswith(".") else f"{prefix}."
        part = OrderedDict((name[len(start) :], value) for name, value in state.items() if name.startswith(start))
        if not part:
            known = list(dict.fromkeys(name.partition(".")[0] for name in state))
            raise CheckpointError(
                f"no weight in {self.checkpoint!r} begins with prefix={start!r}: its names begin with "
                f"{', '.join(map(repr, known[:8]))}.{did_you_mean(start.rstrip('.'), known)}"
            )
        return part

    def _get_init_info(self) -> str:
        return f"{type(self).__name__}: load from {self.checkpoint}"

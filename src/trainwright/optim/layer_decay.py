"""Learning rates that shrink with the distance from a model's output: layer-wise decay (Clark et al. 2020)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean
from trainwright.optim.constructor import DefaultOptimWrapperConstructor
from trainwright.registry import OPTIM_WRAPPER_CONSTRUCTORS

Depths = Callable[[str], tuple[int, int]]

DECAY_TYPES = ("layer_wise", "stage_wise")
_RATES = ("layer_decay_rate", "decay_rate")
# `backbone.layers.3.`, `blocks.3.`, `transformer.h.3.`, `layer3.`, and with a block inside a stage `stages.2.blocks.5.`
_BLOCK = re.compile(
    r"(?:^|\.)(?:(?P<staged>stages?[._]?|layer)|layers?[._]|blocks?[._]?|resblocks\.|h\.)(?P<stage>\d+)\."
    r"(?P<inner>(?:blocks|layers)\.)?(?:(?P<block>\d+)\.)?"
)
_DOWN = re.compile(r"(?:^|\.)downsample_layers\.(\d+)\.")  # what leads to the stage of that number


@OPTIM_WRAPPER_CONSTRUCTORS.register_extra
class LearningRateDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """A parameter's learning rate is ``layer_decay_rate ** (n_depths - depth - 1)`` times what it would be.

    The depth is 0 for what comes before the first block (embeddings, stem), 1 for the first block and so on; what comes
    after the last block (norm, head) keeps its rate. ``paramwise_cfg`` takes, beside the settings of
    :class:`DefaultOptimWrapperConstructor`:

    - ``layer_decay_rate``, or ``decay_rate``: above 0, 1 changes nothing
    - ``num_layers``: spread the blocks evenly over so many depths; by default each has its own
    - ``decay_type``: 'layer_wise' counts blocks, 'stage_wise' stages

    A model, or a part of it, that has ``get_layer_depth(param_name, prefix="")`` is asked, and gives (depth, n_depths);
    ``prefix`` is the part's own name with a dot. Otherwise blocks are known by the usual names (``layers.3``,
    ``blocks.3``, ``h.3``, ``stages.2.5``, ``layer3.0``), and several stacks of blocks are counted apart. Groups also
    get ``lr_scale``, ``layer_id`` and ``param_name``.
    """

    own_keys = (*_RATES, "num_layers", "decay_type")

    def add_params(
        self, params: list[dict[str, Any]], module: nn.Module, prefix: str = "", is_dcn_module: bool | None = None
    ) -> None:
        """Append the groups of the default constructor, each with its rate scaled by depth."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:
            return
        depth_of = self._depths(module)
        names = {id(param): name for name, param in module.named_parameters()}
        for group in params:
            name = names[id(group["params"][0])]
            depth, n_depths = depth_of(name)
            scale = self._rate() ** (n_depths - depth - 1)
            own = group.get("lr", self.base_lr)
            group.update(lr=own * scale, lr_scale=scale, layer_id=depth, param_name=name)

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        rate, kind, n_layers = self._rate(), self._kind(), self.paramwise_cfg.get("num_layers")
        if self.base_lr is None:
            raise ConfigError(
                "layer-wise decay multiplies lr, and the optimizer sets none: write it out, "
                "optimizer=dict(type=..., lr=...)"
            )
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate > 0:
            raise ConfigError(f"layer_decay_rate must be a number above 0, got {rate!r}; 1.0 changes nothing")
        if kind not in DECAY_TYPES:
            raise ConfigError(
                f"decay_type must be one of {', '.join(DECAY_TYPES)}, got {kind!r}."
                f"{did_you_mean(str(kind), DECAY_TYPES)}"
            )
        if n_layers is not None and (isinstance(n_layers, bool) or not isinstance(n_layers, int) or n_layers < 1):
            raise ConfigError(f"num_layers must be a whole number of at least 1, got {n_layers!r}")

    def _rate(self) -> Any:
        given = [key for key in _RATES if key in self.paramwise_cfg]
        if len(given) > 1:
            raise ConfigError("paramwise_cfg has layer_decay_rate and decay_rate, two names of one setting: drop one")
        return self.paramwise_cfg[given[0]] if given else 1.0

    def _kind(self) -> Any:
        return self.paramwise_cfg.get("decay_type", DECAY_TYPES[0])

    def _depths(self, model: nn.Module) -> Depths:
        for name, module in model.named_modules():
            ask = getattr(module, "get_layer_depth", None)
            if callable(ask):  # a model that hands the question on to its backbone may take no prefix
                return partial(ask, prefix=f"{name}.") if name else ask
        names = [name for name, _ in model.named_parameters()]
        depths = depths_by_name(names, self._kind() == "stage_wise", self.paramwise_cfg.get("num_layers"))
        if depths is None:
            raise ConfigError(
                f"{type(model).__name__} has no get_layer_depth(param_name, prefix) and no parameters named as in "
                "layers.0, blocks.0, h.0, stages.0.0 or layer1.0, so the depth of a layer is not known: give the "
                "model, or its backbone, a get_layer_depth that returns (depth, number of depths)"
            )
        return depths.__getitem__


def depths_by_name(names: Iterable[str], by_stage: bool, n_layers: int | None) -> dict[str, tuple[int, int]] | None:
    """``{parameter: (depth, number of depths)}`` by the usual names of blocks; None where there are none of them.

    ``names`` come in the order of the model. ``n_layers``: as many depths for the blocks of one stack, by default as
    many as it has blocks.
    """
    places = {name: _place(name, by_stage) for name in names}
    stacks: dict[str, list[tuple[int, int]]] = {}
    for place in places.values():
        if place is not None and place[1] not in stacks.setdefault(place[0], []):
            stacks[place[0]].append(place[1])
    if not stacks:
        return None
    ranks = {stack: {block: n for n, block in enumerate(sorted(blocks))} for stack, blocks in stacks.items()}
    depths: dict[str, tuple[int, int]] = {}
    begun = False
    for name, place in places.items():
        stack = next(iter(stacks)) if place is None else place[0]
        n_blocks = len(ranks[stack])
        n_inner = n_layers or n_blocks
        if place is not None:
            begun = True
            depths[name] = 1 + ranks[stack][place[1]] * n_inner // n_blocks, n_inner + 2
        elif leads := _DOWN.search(name):
            depths[name] = _before_stage(int(leads[1]), ranks[stack], n_inner), n_inner + 2
        else:
            depths[name] = (n_inner + 1 if begun else 0), n_inner + 2
    return depths


def _place(name: str, by_stage: bool) -> tuple[str, tuple[int, int]] | None:
    """The stack that a parameter's block is in, and its (stage, block); None for a parameter of no block."""
    found = _BLOCK.search(name)
    if found is None:
        return None
    # A number inside a block that is no stage is a part of the block: `layers.3.0` may be its norm.
    is_nested = found["block"] is not None and (found["staged"] or found["inner"])
    block = int(found["block"]) if is_nested and not by_stage else 0
    return name[: found.start("stage")], (int(found["stage"]), block)


def _before_stage(stage: int, ranks: dict[tuple[int, int], int], n_inner: int) -> int:
    """The depth of a layer in front of a stage: that of its first block; in front of the first stage it is the stem."""
    first = min((rank for block, rank in ranks.items() if block[0] == stage), default=0)
    return 0 if stage == 0 else 1 + first * n_inner // len(ranks)

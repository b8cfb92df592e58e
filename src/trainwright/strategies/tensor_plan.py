"""A plan of tensor parallelism: read from a config, and matched to the modules of a model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.text import did_you_mean

# Name: class in torch.distributed.tensor.parallel, and its arguments.
STYLES: dict[str, tuple[str, dict[str, Any]]] = {
    "colwise": ("ColwiseParallel", {}),
    "colwise_gather": ("ColwiseParallel", {"output_layouts": "replicate"}),
    "colwise_sequence": ("ColwiseParallel", {"input_layouts": "shard(1)"}),
    "rowwise": ("RowwiseParallel", {}),
    "rowwise_scatter": ("RowwiseParallel", {"output_layouts": "shard(1)"}),
    "embedding": ("RowwiseParallel", {"input_layouts": "replicate"}),
    "embedding_scatter": ("RowwiseParallel", {"input_layouts": "replicate", "output_layouts": "shard(1)"}),
    "sequence": ("SequenceParallel", {}),
}
OWN_STYLES = ("replicate", "replicate_sum")
CLASSES = (
    *("ColwiseParallel", "RowwiseParallel", "SequenceParallel"),
    *("PrepareModuleInput", "PrepareModuleOutput", "PrepareModuleInputOutput"),
    "Divide",
)
HEADS = (
    *("n_heads", "num_heads", "n_head", "nhead", "heads", "num_attention_heads"),
    *("n_kv_heads", "num_kv_heads", "n_kv_head", "num_key_value_heads"),
)
FUSED = ("qkv", "Wqkv", "to_qkv", "qkv_proj", "c_attn", "in_proj", "query_key_value")
_LAYOUT = re.compile(r"shard\((-?\d+)\)")


@dataclass(frozen=True)
class Divide:
    """Whole numbers of a module that count what is divided among the ranks, such as its heads."""

    attributes: tuple[str, ...] = ()

    def apply(self, name: str, module: nn.Module, size: int) -> None:
        """Divide them by the number of ranks."""
        for attribute in self.attributes:
            value = getattr(module, attribute, None)
            if isinstance(value, bool) or not isinstance(value, int):
                known = [key for key, one in vars(module).items() if type(one) is int]
                raise ConfigError(
                    f"the plan divides {attribute!r} of {name!r}, which has no whole number of that name."
                    f"{did_you_mean(attribute, known)}"
                )
            if value % size:
                raise ConfigError(f"{name}.{attribute}={value} cannot be shared out to {size} ranks: {cure(size)}")
            setattr(module, attribute, value // size)


@dataclass(frozen=True)
class Entry:
    """What a pattern of the plan says: the name by which errors call it, and a style of torch, a Divide or a word."""

    pattern: str
    says: str
    style: Any


def cure(size: int) -> str:
    """What to do where a number does not divide."""
    return f"choose a size of tensor groups that divides it, instead of {size}, or leave the module out of the plan."


def read_plan(plan: Any) -> list[Entry]:
    """The entries of ``{pattern: style}``, of which nothing is known yet but that each style is one.

    A style is a name, ``dict(type='ColwiseParallel', input_layouts='shard(1)', ...)``, an object of torch, or a list.
    """
    if not isinstance(plan, Mapping):
        raise ConfigTypeError(f"the plan must be a dict of patterns of module names and styles, but got {plan!r}.")
    if not plan:
        raise ConfigError(
            "the plan is empty, so nothing would be divided: say what becomes of which modules, as in "
            "plan={'layers.*.fc1': 'colwise', 'layers.*.fc2': 'rowwise'}."
        )
    entries: list[Entry] = []
    for pattern, styles in plan.items():
        if not isinstance(pattern, str):
            raise ConfigTypeError(f"the plan has the key {pattern!r}, which is no pattern of module names.")
        entries += [_entry(pattern, style) for style in (styles if isinstance(styles, (list, tuple)) else [styles])]
    return entries


def _entry(pattern: str, style: Any) -> Entry:
    from torch.distributed.tensor.parallel import ParallelStyle

    if isinstance(style, (ParallelStyle, Divide)):
        return Entry(pattern, type(style).__name__, style)
    if isinstance(style, str):
        if style in OWN_STYLES:
            return Entry(pattern, style, style)
        if style == "loss_parallel":
            raise ConfigError(
                f"the plan gives {pattern!r} the style 'loss_parallel', which is not offered: logits would reach the "
                "model's loss, its metrics and its predictions in parts. Take 'colwise_gather' for the last layer."
            )
        if style in STYLES:
            kind, arguments = STYLES[style]
            return Entry(pattern, style, _built(pattern, kind, arguments))
        names = (*STYLES, *OWN_STYLES)
        raise ConfigError(
            f"the plan gives {pattern!r} the style {style!r}, which is none of {', '.join(names)}."
            f"{did_you_mean(style, names)}"
        )
    if isinstance(style, Mapping) and isinstance(style.get("type"), str):
        arguments = {key: value for key, value in style.items() if key != "type"}
        return Entry(pattern, style["type"], _built(pattern, style["type"], arguments))
    raise ConfigTypeError(
        f"the plan gives {pattern!r} the style {style!r}: a style is a name, such as 'colwise', or a dict with a type, "
        "such as dict(type='ColwiseParallel', input_layouts='shard(1)')."
    )


def _built(pattern: str, kind: str, arguments: Mapping[str, Any]) -> Any:
    from torch.distributed.tensor import parallel

    if kind not in CLASSES:
        raise ConfigError(
            f"the plan gives {pattern!r} type={kind!r}, which is none of {', '.join(CLASSES)}."
            f"{did_you_mean(kind, CLASSES)}"
        )
    if kind == "Divide":
        attributes = arguments.get("attributes", ())
        _check_names(pattern, kind, arguments, ["attributes"])
        return Divide(tuple([attributes] if isinstance(attributes, str) else attributes))
    cls: Any = getattr(parallel, kind)
    _check_names(pattern, kind, arguments, list(inspect.signature(cls).parameters))
    settings = {
        name: _layouts(value, f"{name} of {pattern!r}") if name.endswith("layouts") else value
        for name, value in arguments.items()
    }
    try:
        return cls(**settings)
    except (AssertionError, TypeError) as error:
        raise ConfigError(f"the plan's {kind} of {pattern!r} cannot be made: {error}") from error


def _check_names(pattern: str, kind: str, arguments: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in arguments:
        if name not in known:
            raise ConfigError(
                f"the plan's {kind} of {pattern!r} has no setting {name!r}; it takes {', '.join(known)}."
                f"{did_you_mean(name, known)}"
            )


def _layouts(value: Any, where: str) -> Any:
    """Placements from 'replicate', 'partial' and 'shard(1)'; of lists, tuples and dicts of such."""
    from torch.distributed.tensor import Partial, Replicate, Shard

    if isinstance(value, (list, tuple)):
        return tuple(_layouts(item, where) for item in value)
    if isinstance(value, Mapping):
        return {key: _layouts(item, where) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    found = _LAYOUT.fullmatch(value.replace(" ", "").lower())
    if found:
        return Shard(int(found[1]))
    simple = {"replicate": Replicate(), "partial": Partial()}
    if value.lower() in simple:
        return simple[value.lower()]
    raise ConfigError(
        f"{where} is {value!r}, and a layout is 'replicate', 'partial' or 'shard(dim)', such as 'shard(-1)'."
        f"{did_you_mean(value, ['replicate', 'partial', 'shard(0)', 'shard(1)', 'shard(-1)'])}"
    )


# -- matching ----------------------------------------------------------------------------------------------------------


def matched(model: nn.Module, entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The entries for each module of `model`, by its name; one that divides nothing may name parameters too.
    ConfigError for a pattern that matches none, and where two patterns divide one module."""
    modules = [name for name, _ in model.named_modules()]
    params = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        names = [*modules, *params] if entry.style in OWN_STYLES else modules
        hits = [name for name in names if fnmatchcase(name, entry.pattern)]
        if not hits:
            near = dict.fromkeys([*names, *(re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", name) for name in names)])
            raise ConfigError(
                f"the plan names {entry.pattern!r}, and {type(model).__name__} has no module of such a name."
                f"{did_you_mean(entry.pattern, [name for name in near if name])}"
            )
        for name in hits:
            found.setdefault(name, []).append(entry)
    for name, own in found.items():
        places = [entry for entry in own if holds_weights(entry)]
        if len(places) > 1:
            says = " and ".join(f"{entry.pattern!r} ({entry.says})" for entry in places)
            raise ConfigError(f"the plan says twice what becomes of the weights of {name!r}: {says}. Keep one of them.")
    return found


def holds_weights(entry: Entry) -> bool:
    """Whether an entry says how the weights of a module are placed."""
    return not isinstance(entry.style, Divide) and not type(entry.style).__name__.startswith("PrepareModule")


def check_fit(model: nn.Module, plan: Mapping[str, Sequence[Entry]], size: int) -> None:
    """ConfigError where a style does not suit its module, or the numbers of this do not divide."""
    for name, entries in plan.items():
        for entry in entries:
            if type(entry.style).__name__ in ("ColwiseParallel", "RowwiseParallel"):
                module = model.get_submodule(name)
                _check_linear(model, name, module, entry)
                _check_sizes(name, module, entry, size)


def _check_linear(model: nn.Module, name: str, module: nn.Module, entry: Entry) -> None:
    says, kind = f"the plan gives {name!r} the style {entry.says!r}", type(module).__name__
    parent = model.get_submodule(name.rpartition(".")[0])
    if isinstance(parent, nn.MultiheadAttention):
        raise ConfigError(
            f"{says}, and it is a part of nn.MultiheadAttention, which uses its weights without calling it: write the "
            "attention with linear layers of its own for queries, keys and values, or leave it out of the plan."
        )
    if not isinstance(module, (nn.Linear, nn.Embedding)) or (
        entry.says.startswith("embedding") and not isinstance(module, nn.Embedding)
    ):
        wanted = "nn.Embedding" if entry.says.startswith("embedding") else "nn.Linear or nn.Embedding"
        inside = [n for n, one in module.named_modules() if n and isinstance(one, (nn.Linear, nn.Embedding))]
        hint = f" There are {', '.join(f'{name}.{n}' for n in inside[:4])} inside it." if inside else ""
        raise ConfigError(f"{says}, which is for {wanted}, and it is of the class {kind}.{hint}")
    if isinstance(module, nn.Embedding):
        if entry.says == "rowwise":
            raise ConfigError(f"{says}, and it is an nn.Embedding: 'embedding' divides rows, 'colwise' columns.")
        if module.max_norm is not None or module.sparse:
            raise ConfigError(
                f"{says}, and it has max_norm={module.max_norm} and sparse={module.sparse}: an embedding that is "
                "divided has neither."
            )
    if hasattr(module, "parametrizations"):
        raise ConfigError(
            f"{says}, and its weights are computed from others (torch.nn.utils.parametrize), which are not divided: "
            "remove the parametrization, or leave it out of the plan."
        )


def _check_sizes(name: str, module: Any, entry: Entry, size: int) -> None:
    """What a forward sees parts of must have the same size on each rank; rows of a table, and outputs that are put
    together again, need not."""
    is_linear = isinstance(module, nn.Linear)
    if type(entry.style).__name__ == "RowwiseParallel":
        what, number = ("in_features", module.in_features) if is_linear else ("num_embeddings", size)
    elif entry.style.output_layouts[0].is_replicate():
        what, number = "out_features", size
    else:
        what = "out_features" if is_linear else "embedding_dim"
        number = getattr(module, what)
    if number % size:
        raise ConfigError(f"{name} has {what}={number}, which {size} ranks cannot share evenly: {cure(size)}")


def check_heads(model: nn.Module, plan: Mapping[str, Sequence[Entry]], size: int) -> list[str]:
    """ConfigError where heads would be cut; what to tell of modules that count heads and are not said to be divided."""
    told: dict[tuple[type, str], str] = {}
    for name, entries in plan.items():
        if not any(_gives_parts(entry.style) for entry in entries):
            continue
        owner, _, own_name = name.rpartition(".")
        parent = model.get_submodule(owner)
        if own_name in FUSED and (type(parent), own_name) not in told:
            told[type(parent), own_name] = (
                f"{name} seems to be queries, keys and values in one: a rank has {size} times fewer of its outputs, in "
                "their order. That is right where these lie head by head, and wrong where all queries come first: then "
                "divide it into three layers, or leave it out of the plan"
            )
        is_said = any(isinstance(entry.style, Divide) for entry in plan.get(owner, ()))
        for attribute in HEADS:
            value = getattr(parent, attribute, None)
            if type(value) is not int or value < 1:
                continue
            if value % size:
                raise ConfigError(
                    f"{owner or type(parent).__name__} has {attribute}={value}, and {size} ranks would cut its heads: "
                    f"{cure(size)}"
                )
            if not is_said and (type(parent), attribute) not in told:
                told[type(parent), attribute] = (
                    f"{owner or type(parent).__name__} has {attribute}={value}, and on each rank its projections give "
                    f"{value // size} of these: its forward must take their number from the shape, as in "
                    f"view(b, t, -1, head_dim), or the plan say {{{owner!r}: dict(type='Divide', "
                    f"attributes=[{attribute!r}])}} (attributes=[]: it does so)"
                )
    return list(told.values())


def _gives_parts(style: Any) -> bool:
    return type(style).__name__ == "ColwiseParallel" and style.output_layouts[0].is_shard() and style.use_local_output

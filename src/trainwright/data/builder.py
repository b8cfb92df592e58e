"""From a loader's config to a loader. Impossible settings are refused here, before a worker exists."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigError, ConfigTypeError, FunctionNameError, RegistryError
from trainwright.base.text import did_you_mean
from trainwright.data.collate import pseudo_collate
from trainwright.data.indices import samplers_of
from trainwright.data.keyed import KeyedDataLoader
from trainwright.data.sample_errors import max_skipped
from trainwright.data.sampler import DefaultSampler, checked_size
from trainwright.data.sliced import SlicedDataset
from trainwright.data.stream_reading import NodeStream, is_node
from trainwright.data.workers import mute_worker, worker_init_fn
from trainwright.dist import broadcast_object_list, data_group, data_info, sync_random_seed
from trainwright.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS

_FUNCTION = "a dict or callable object, or a name in the FUNCTIONS registry"
_OWN_OPTIONS = ("num_batch_per_epoch", "disable_subprocess_warning", "on_sample_error")
_WORKER_ONLY = {  # option: the value that means "not set"
    "persistent_workers": False,
    "prefetch_factor": None,
    "timeout": 0,
    "multiprocessing_context": None,
}


def build_dataloader(
    dataloader: DataLoader[Any] | dict[str, Any],
    seed: int | None = None,
    *,
    diff_rank_seed: bool = False,
    keyed: bool | None = None,
) -> DataLoader[Any]:
    """Build a loader from its config; a loader that is built already is returned as it is, if
    it gives ranks of one tensor group the same samples.

    The config takes torch's DataLoader arguments, where `dataset`, `sampler`, `batch_sampler`, `collate_fn` and
    `worker_init_fn` may be configs of their registries, and:
    `num_batch_per_epoch`: keep only so many batches of the dataset; `disable_subprocess_warning`: warnings of the first
    worker only; `on_sample_error`: see KeyedDataLoader. Without a sampler, the order is DefaultSampler's with `shuffle`
    (False); without a collate function, ``pseudo_collate`` (nothing where batch_size is None).

    `seed` None: the ranks agree on a random one. `diff_rank_seed`: `seed` differs from rank to rank, so the sampler
    draws its own common one. `keyed` False gives a plain DataLoader whose workers are seeded as MMEngine's; None is the
    default of the process.
    """
    if isinstance(dataloader, DataLoader):
        for sampler in samplers_of(dataloader):
            _divides_as_data(sampler)
        return dataloader
    keyed = defaults.keyed if keyed is None else keyed
    options = checked_options(dataloader)
    dataset = _build_dataset(options)
    iterable = isinstance(dataset, IterableDataset)
    if iterable:
        _refuse_order(options, type(dataset).__name__)
    else:
        _build_samplers(options, dataset, None if diff_rank_seed else seed)
    _set_collate(options)
    options["worker_init_fn"] = _worker_init(options, None if keyed and iterable else seed)
    on_sample_error = options.pop("on_sample_error", "raise")
    if on_sample_error != "raise" and (iterable or not keyed):
        why = f"{type(dataset).__name__} is an IterableDataset, which" if iterable else "randomness=dict(keyed=False)"
        raise ConfigError(
            f"on_sample_error={on_sample_error!r} puts another index in place of one, and {why} has no keyed indices; "
            f"{'catch the error in its __iter__' if iterable else 'leave keyed as it is'}, or set it to 'raise'"
        )
    if keyed:
        options["on_sample_error"] = on_sample_error
        return KeyedDataLoader(dataset, seed=_common_seed(seed, diff_rank_seed), **options)
    return DataLoader(dataset, **options)


def checked_options(cfg: Any) -> dict[str, Any]:
    """The settings of a loader's config, after every check that needs no dataset; nothing is built."""
    for _, error in option_errors(cfg):
        raise error
    return {"num_workers": 0, **cfg}


def option_errors(cfg: Any) -> Iterator[tuple[str | None, Exception]]:
    """Everything wrong with a loader's config that can be seen without its dataset: the setting, and the error."""
    if not isinstance(cfg, dict):
        text = f"a dataloader must be a DataLoader or a dict with the key 'dataset', got {type(cfg).__name__}: {cfg!r}"
        yield None, ConfigTypeError(text)
        return
    options = {"num_workers": 0, **cfg}
    yield from _plain_errors(options)
    for check in (_check_workers, _check_order):
        try:
            check(options)
        except ConfigError as error:  # noqa: PERF203 - two checks
            yield None, error
    try:
        max_skipped(options.get("on_sample_error", "raise"))
    except ConfigError as error:
        yield "on_sample_error", error
    for name in ("collate_fn", "worker_init_fn"):
        if options.get(name) is not None:
            try:
                function_of(options[name], name)
            except (ConfigError, RegistryError) as error:
                yield name, error


def _plain_errors(options: dict[str, Any]) -> Iterator[tuple[str | None, Exception]]:
    known = [*inspect.signature(DataLoader.__init__).parameters][1:] + [*_OWN_OPTIONS]
    for name in options:
        if name not in known:
            yield name, ConfigError(f"a dataloader has no setting {name!r}.{did_you_mean(str(name), known)}")
    if options.get("dataset") is None:
        yield None, ConfigError("a dataloader needs a dataset: add dataset=dict(type=...), or a built dataset")
    for name, least in (("num_workers", 0), ("batch_size", 1), ("num_batch_per_epoch", 1)):
        value = options.get(name)
        if value is not None and (not isinstance(value, int) or value < least):
            yield name, ConfigError(f"{name} must be an integer of at least {least}, got {value!r}")


def _check_workers(options: dict[str, Any]) -> None:
    if options["num_workers"] != 0:
        return
    for name, unset in _WORKER_ONLY.items():
        if options.get(name, unset) not in (unset, 0):
            raise ConfigError(
                f"{name}={options[name]!r} needs loader workers, but num_workers is 0; set num_workers to 1 or more, "
                f"or {name}={unset!r}"
            )


def _check_order(options: dict[str, Any]) -> None:
    """Settings that would have no effect beside another one."""
    sampler, batch_sampler, shuffle = (options.get(name) for name in ("sampler", "batch_sampler", "shuffle"))
    if sampler is not None and shuffle is not None:
        raise ConfigError(f"sampler and shuffle={shuffle} exclude each other: set shuffle in the sampler, drop it here")
    if isinstance(batch_sampler, dict) and options.get("drop_last"):
        raise ConfigError("drop_last belongs into the batch_sampler's dict when there is one: move it there")
    if batch_sampler is None or isinstance(batch_sampler, dict):
        return
    kind = type(batch_sampler).__name__
    if sampler is not None and sampler is not getattr(batch_sampler, "sampler", None):
        raise ConfigError(
            f"batch_sampler is a built {kind}, so sampler={sampler!r} would never be used; drop sampler, or give "
            "batch_sampler as a dict to have it built on that sampler"
        )
    for name, unset in (("batch_size", 1), ("drop_last", False), ("shuffle", None)):
        if options.get(name, unset) != unset:
            raise ConfigError(
                f"{name}={options[name]!r} and a built batch_sampler exclude each other: set it where the {kind} is "
                "made, and drop it here"
            )


def _build_dataset(options: dict[str, Any]) -> Any:
    dataset = options.pop("dataset")
    if isinstance(dataset, dict):
        dataset = DATASETS.build(dataset)
        if hasattr(dataset, "full_init"):
            dataset.full_init()
    if is_node(dataset):
        dataset = NodeStream(dataset)
    n_batches = options.pop("num_batch_per_epoch", None)
    if isinstance(dataset, IterableDataset):
        if n_batches is not None:
            raise ConfigError(
                f"num_batch_per_epoch={n_batches} needs a dataset with indices, and {type(dataset).__name__} is an "
                "IterableDataset; let its __iter__ stop earlier"
            )
        return dataset
    if not hasattr(dataset, "__getitem__"):
        raise ConfigTypeError(
            f"dataset {type(dataset).__name__} has no __getitem__ and is no IterableDataset, so no sample can be read"
        )
    checked_size(dataset, "dataloader")
    if n_batches is None:
        return dataset
    return SlicedDataset(dataset, n_batches * _batch_size(options) * data_info()[1])


def _batch_size(options: dict[str, Any]) -> int:
    batch_sampler = options.get("batch_sampler")
    size = options.get("batch_size", 1)
    if isinstance(batch_sampler, dict):
        size = batch_sampler.get("batch_size", size)
    elif batch_sampler is not None:
        size = getattr(batch_sampler, "batch_size", None)
    if not isinstance(size, int):
        raise ConfigError(f"num_batch_per_epoch needs a fixed batch size, got batch_size={size!r}")
    return size


def _refuse_order(options: dict[str, Any], name: str) -> None:
    for setting in ("sampler", "batch_sampler", "shuffle"):
        if options.pop(setting, None):
            raise ConfigError(
                f"{setting} was set, but dataset {name} is an IterableDataset, which chooses its own order; drop "
                f"{setting}"
            )


def _build_samplers(options: dict[str, Any], dataset: Any, seed: int | None) -> None:
    """Put the built `sampler` or `batch_sampler` into `options`, and take out what it replaces."""
    sampler, batch_sampler, shuffle = (options.pop(name, None) for name in ("sampler", "batch_sampler", "shuffle"))
    if batch_sampler is not None and not isinstance(batch_sampler, dict):
        options["batch_sampler"] = _divides_as_data(batch_sampler)
        return
    if isinstance(sampler, dict):
        sampler = DATA_SAMPLERS.build(sampler, default_args={"dataset": dataset, "seed": seed})
    elif sampler is None:
        sampler = DefaultSampler(dataset, shuffle=bool(shuffle), seed=seed)
    if batch_sampler is None:
        options["sampler"] = _divides_as_data(sampler)
        return
    options.pop("drop_last", None)
    sampler = _divides_as_data(sampler)
    defaults = {"sampler": sampler, **({"batch_size": options.pop("batch_size")} if "batch_size" in options else {})}
    options["batch_sampler"] = _divides_as_data(DATA_SAMPLERS.build(batch_sampler, default_args=defaults))


def _divides_as_data(sampler: Any) -> Any:
    """The sampler; ConfigError where it gives ranks of one tensor group different samples."""
    found = [getattr(sampler, name, None) for name in ("num_replicas", "world_size")]
    n_ranks = next((n for n in found if isinstance(n, int)), None)
    rank, size = data_info()
    if data_group() is not None and n_ranks is not None and n_ranks != size:
        raise ConfigError(
            f"{type(sampler).__name__} divides the samples among {n_ranks} ranks, and the ranks of a tensor group must "
            f"see the same ones: let it take rank={rank} and size={size} from trainwright.dist.data_info(), or use "
            "DefaultSampler or InfiniteSampler"
        )
    return sampler


def function_of(spec: Any, setting: str) -> Callable[..., Any]:
    """A callable from a callable, a registered name, or a dict of a `type` and keyword arguments to bind."""
    arguments: dict[str, Any] | None = None
    target = spec
    if isinstance(spec, dict):
        arguments = dict(spec)
        if "type" not in arguments:
            raise ConfigError(f"{setting} is a dict without the key 'type': {spec!r}")
        target = arguments.pop("type")
    if isinstance(target, str):
        try:
            target = _named_function(target)
        except RegistryError as error:
            if isinstance(spec, dict):
                raise
            raise FunctionNameError(f"{error}\n{setting} should be {_FUNCTION}.") from error
    if not callable(target):
        raise ConfigTypeError(f"{setting} should be {_FUNCTION}, but got {spec!r}")
    return target if arguments is None else partial(target, **arguments)


def _named_function(name: str) -> Any:
    """The root's own functions first, as in MMEngine: few projects have a registry of functions, and there is then no
    scope to look in."""
    if name in FUNCTIONS.module_dict:
        return FUNCTIONS.module_dict[name]
    with FUNCTIONS.switch_scope_and_registry(None) as functions:
        return functions.resolve(name)


def _set_collate(options: dict[str, Any]) -> None:
    spec = options.get("collate_fn")
    if spec is not None:
        options["collate_fn"] = function_of(spec, "collate_fn")
    elif options.get("batch_size", 1) is not None or "batch_sampler" in options:
        options["collate_fn"] = pseudo_collate  # without batching there is nothing to collate


def _worker_init(options: dict[str, Any], seed: int | None) -> Callable[..., Any] | None:
    mute = bool(options.pop("disable_subprocess_warning", False))
    spec = options.get("worker_init_fn")
    if spec is not None:
        return function_of(spec, "worker_init_fn")
    if seed is None:
        return mute_worker if mute else None
    return partial(
        worker_init_fn,
        num_workers=options["num_workers"],
        rank=data_info()[0],
        seed=seed,
        disable_subprocess_warning=mute,
    )


def _common_seed(seed: int | None, diff_rank_seed: bool) -> int:
    if seed is None:
        return sync_random_seed()
    common = [seed]
    if diff_rank_seed:
        broadcast_object_list(common)
    return common[0]

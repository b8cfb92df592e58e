"""The dataset that most others derive from: a list of annotations, and a pipeline that makes samples of them."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from torch.utils.data import Dataset

from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigError, ConfigTypeError, DataError, DataNotFoundError, RuleError
from trainwright.base.logs import print_log
from trainwright.base.text import brief
from trainwright.data import handover, metainfo, subset
from trainwright.data.compose import Compose
from trainwright.data.records import Arrays, store_records, unpack
from trainwright.data.run_name import in_worker, is_shared, run_name
from trainwright.data.subset import Indices
from trainwright.io import is_url, load
from trainwright.io.handlers import file_handlers
from trainwright.registry import DATASETS

_ABSOLUTE = ("http://", "https://", "s3://", "hdfs://", "petrel")
_PICKLES = (".pkl", ".pickle")


def force_full_init(old_func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a method so that it calls ``full_init`` first where that was not done."""

    @functools.wraps(old_func)
    def wrapper(obj: Any, *args: Any, **kwargs: Any) -> Any:
        if not getattr(obj, "_fully_initialized", False):
            init_late(obj)
        return old_func(obj, *args, **kwargs)

    return wrapper


def init_late(obj: Any) -> None:
    """``obj.full_init()``, with a warning: in a worker it is done in every pass again."""
    name = type(obj).__name__
    if not hasattr(obj, "full_init"):
        raise AttributeError(f"{name} has no full_init method")
    text = f"{name} is used before full_init(): the annotations are read now. Call full_init() once before."
    print_log(text, "current", logging.WARNING)
    obj.full_init()
    obj._fully_initialized = True


@DATASETS.register_extra
class BaseDataset(Dataset[Any]):
    """Annotations from ``ann_file``, or from an overridden ``load_data_list``, and a pipeline (API of mmengine's).

    `ann_file`: JSON or YAML with ``metainfo``, a dict, and ``data_list``, a list of dicts.
    `metainfo`: goes before ``METAINFO``, which goes before that of the file; a value that is the path of a file stands
    for its lines. `data_root`: put before `ann_file` and the values of `data_prefix`, which ``parse_data_info`` puts
    before the fields of the same names. `filter_cfg`: for an overridden ``filter_data``. `indices`: the first or last
    so many annotations, or those of a sequence. `pipeline`: transforms of one annotation, which gets its index as
    ``sample_idx``. One that gives None drops the sample: another one is drawn at random, `max_refetch` times at most;
    with `test_mode` it is an error. `lazy_init`: leave reading to ``full_init``.
    `serialize_data`: keep the annotations as bytes in one mapped file, which all processes of a node share. One rank
    of a node reads for all; `share_data` False lets every rank read, None does where the code that reads mentions the
    rank. A subclass may set it for its instances.
    """

    METAINFO: ClassVar[dict[str, Any]] = {}
    share_data: bool | None = None
    _fully_initialized = False
    _run: str | None = None

    def __init__(
        self,
        ann_file: str | None = "",
        metainfo: Any = None,
        data_root: str | None = "",
        data_prefix: dict[str, str] = {"img_path": ""},  # noqa: B006 - copied
        filter_cfg: dict[str, Any] | None = None,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        pipeline: Sequence[dict[str, Any] | Callable[..., Any]] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
        share_data: bool | None = None,
    ) -> None:
        self.ann_file = ann_file
        self._metainfo = self._load_metainfo(copy.deepcopy(metainfo))
        self.data_root = data_root
        self.data_prefix = copy.copy(data_prefix)
        self.filter_cfg = copy.deepcopy(filter_cfg)
        self._indices = indices
        self.serialize_data = serialize_data
        self.test_mode = test_mode
        self.max_refetch = max_refetch
        self.data_list: list[Any] = []
        self.data_bytes: np.ndarray[Any, Any]
        self.data_address: np.ndarray[Any, Any]
        if share_data is not None:
            self.share_data = share_data
        self._join_prefix()
        self.pipeline = Compose(pipeline)
        if lazy_init:
            self._run = run_name()  # a worker that has to read cannot ask the other ranks
        else:
            self.full_init()

    # reading --------------------------------------------------------------------------------------------------------

    def full_init(self) -> None:
        """Read, filter, cut to `indices`, and store; only once."""
        if self._fully_initialized:
            return
        if self.serialize_data and is_shared() and handover.may_share(self):
            handover.load_once(self, self._run_name(), self._load)
        else:
            self._load()
        self._fully_initialized = True

    def _load(self) -> None:
        self.data_list = self._checked(self.load_data_list(), "load_data_list")
        self.data_list = self._checked(self.filter_data(), "filter_data")
        if self._indices is not None:
            self.data_list = self._get_unserialized_subset(self._indices)
        if self.serialize_data:
            self.data_bytes, self.data_address = self._serialize_data()

    def _run_name(self) -> str:
        return self._run if self._run and in_worker() else run_name()

    def _checked(self, records: Any, method: str) -> Any:
        kept_as_is = not self.serialize_data and isinstance(records, Sequence) and not isinstance(records, str)
        if not isinstance(records, list) and not kept_as_is:
            raise ConfigTypeError(
                f"{type(self).__name__}.{method} must return a list of dicts, one a sample, got "
                f"{type(records).__name__}: {brief(records)}"
            )
        return records

    def load_data_list(self) -> list[Any]:
        """The annotations in ``ann_file``, each through ``parse_data_info``; to be overridden for other formats."""
        annotations = self._read_ann_file()
        for key, value in annotations["metainfo"].items():
            self._metainfo.setdefault(key, value)
        data_list: list[Any] = []
        for raw in annotations["data_list"]:
            parsed = self.parse_data_info(raw)
            items = parsed if isinstance(parsed, list) else [parsed]
            wrong = next((item for item in items if not isinstance(item, dict)), None)
            if wrong is not None or parsed is None:
                raise ConfigTypeError(
                    f"{type(self).__name__}.parse_data_info must return a dict or a list of dicts, got {brief(parsed)}"
                )
            data_list += items
        return data_list

    def _read_ann_file(self) -> dict[str, Any]:
        annotations = _read(self.ann_file, type(self).__name__)
        if not isinstance(annotations, dict):
            kind = type(annotations).__name__
            raise ConfigTypeError(f"{self.ann_file!r} must hold a dict with metainfo and data_list, it holds a {kind}")
        missing = [name for name in ("metainfo", "data_list") if name not in annotations]
        if missing:
            raise ConfigError(
                f"{self.ann_file!r} must hold a dict with the keys metainfo and data_list, it has no "
                f"{' and no '.join(missing)}; for another format override {type(self).__name__}.load_data_list"
            )
        return annotations

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> Any:
        """One annotation of the file as a dict, or as a list of several; puts `data_prefix` before its fields."""
        for key, prefix in self.data_prefix.items():
            if key not in raw_data_info:
                raise RuleError(
                    f"data_prefix of {type(self).__name__} names the field {key!r}, which an annotation does not have: "
                    f"{brief(raw_data_info)}; data_prefix={{}} puts nothing before anything"
                )
            raw_data_info[key] = _join(prefix, raw_data_info[key])
        return raw_data_info

    def filter_data(self) -> list[Any]:
        """What is to be kept of ``data_list``; to be overridden."""
        return self.data_list

    def _serialize_data(self) -> Arrays:
        """(data_bytes, data_address) in a file that is shared between processes; empties ``data_list``."""
        stored = store_records(self.data_list, self._run_name())
        self.data_list.clear()
        return stored

    @classmethod
    def _load_metainfo(cls, metainfo: Any = None) -> dict[str, Any]:
        """``METAINFO`` with `metainfo` on top."""
        return _merged_metainfo(cls.METAINFO, metainfo, cls.__name__)

    def _join_prefix(self) -> None:
        """Put ``data_root`` before ``ann_file`` and the prefixes, where these are relative."""
        if self.ann_file and not _is_abs(self.ann_file) and self.data_root:
            self.ann_file = _join(self.data_root, self.ann_file)
        for key, prefix in self.data_prefix.items():
            if not isinstance(prefix, str):
                raise ConfigTypeError(
                    f"data_prefix of {type(self).__name__} must hold strings, {key!r} is {type(prefix).__name__}: "
                    f"{prefix!r}"
                )
            if not _is_abs(prefix) and self.data_root:
                self.data_prefix[key] = _join(self.data_root, prefix)

    # samples --------------------------------------------------------------------------------------------------------

    @property
    def metainfo(self) -> dict[str, Any]:
        """A copy of what is known about the dataset as a whole."""
        return copy.deepcopy(self._metainfo)

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """A copy of annotation `idx`, with its index as ``sample_idx``."""
        if self.serialize_data:
            start, end = subset.span(self.data_address, idx)
            data_info: dict[str, Any] = unpack(self.data_bytes[start:end])
        else:
            data_info = copy.deepcopy(self.data_list[idx])
        data_info["sample_idx"] = idx if idx >= 0 else len(self) + idx
        return data_info

    def get_cat_ids(self, idx: int) -> list[int]:
        """Categories of sample `idx`, for ClassBalancedDataset; to be overridden."""
        raise NotImplementedError(
            f"{type(self).__name__} has no get_cat_ids(idx), which ClassBalancedDataset needs: the list of the "
            "categories in sample idx"
        )

    def prepare_data(self, idx: int) -> Any:
        """Annotation `idx` through the pipeline; None drops the sample."""
        return self.pipeline(self.get_data_info(idx))

    def __getitem__(self, idx: int) -> Any:
        if not self._fully_initialized:
            init_late(self)
        first = idx
        for _ in range(1 if self.test_mode else self.max_refetch + 1):
            data = self.prepare_data(idx)
            if data is not None:
                return data
            idx = self._rand_another()
        name = type(self).__name__
        if self.test_mode:
            raise DataError(
                # The first words, slip and all, are those that tests written for MMEngine look for.
                f"Test time pipline should not get `None` data_sample: {name} has None for sample {first}, and with "
                "test_mode=True no other sample may take its place, because none may be left out of an evaluation"
            )
        raise DataError(
            f"the pipeline of {name} gave None for sample {first} and for {self.max_refetch} others drawn in its place "
            "(max_refetch); find the transform that drops them, or whether their files are there"
        )

    def _rand_another(self) -> int:
        return int(np.random.randint(0, len(self)))

    @force_full_init
    def __len__(self) -> int:
        return len(self.data_address) if self.serialize_data else len(self.data_list)

    # parts ----------------------------------------------------------------------------------------------------------

    @force_full_init
    def get_subset_(self, indices: Indices) -> None:
        """Keep only the first (or last, where negative) `indices` samples, or those of a sequence."""
        subset.check(indices, len(self))
        if self.serialize_data:
            self.data_bytes, self.data_address = self._get_serialized_subset(indices)
        else:
            self.data_list = self._get_unserialized_subset(indices)

    @force_full_init
    def get_subset(self, indices: Indices) -> BaseDataset:
        """A dataset of the samples that ``get_subset_`` would keep."""
        subset.check(indices, len(self))
        other = self._copy_without_annotation()
        if self.serialize_data:
            other.data_bytes, other.data_address = self._get_serialized_subset(indices)
        else:
            other.data_list = copy.deepcopy(self._get_unserialized_subset(indices))
        return other

    def _get_serialized_subset(self, indices: Indices) -> Arrays:
        return subset.of_bytes((self.data_bytes, self.data_address), indices)

    def _get_unserialized_subset(self, indices: Indices) -> list[Any]:
        return subset.of_list(self.data_list, indices)

    def _copy_without_annotation(self, memo: dict[int, Any] | None = None) -> BaseDataset:
        """A deep copy without ``data_list``, ``data_bytes`` and ``data_address``."""
        cls = type(self)
        other = cls.__new__(cls)
        memo = {} if memo is None else memo
        memo[id(self)] = other
        for name, value in vars(self).items():
            if name not in ("data_list", "data_address", "data_bytes"):
                setattr(other, name, copy.deepcopy(value, memo))
        return other


_merged_metainfo = metainfo.merged  # the name is a parameter and a property in the class


def _is_abs(path: str) -> bool:
    return path.startswith(("/", *_ABSOLUTE))


def _join(root: str, path: str) -> str:
    if is_url(root):
        return f"{root.rstrip('/')}/{path.lstrip('/')}"
    return path if path.startswith("/") else f"{root}{'' if not root or root.endswith('/') else '/'}{path}"


def _read(path: str | None, owner: str) -> Any:
    if not path:
        raise ConfigError(
            f"{owner} has no ann_file, and does not override load_data_list: set ann_file='annotations.json', or say "
            "in load_data_list where the annotations come from"
        )
    if path.endswith(_PICKLES) and not defaults.trusts_pickles:
        raise ConfigError(
            f"ann_file {path!r} of {owner} is a pickle, which can run code when it is read: convert it to JSON, or "
            "read it in an overridden load_data_list if you trust it"
        )
    from yaml import YAMLError  # not with the package

    suffix = path.rpartition(".")[2]
    try:
        return load(path, file_format=suffix if suffix in file_handlers else "json")
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"ann_file {path!r} of {owner} does not exist; a relative path is looked up in data_root, where that is "
            "given, else in the current folder"
        ) from error
    except (ValueError, YAMLError) as error:
        raise ConfigError(f"ann_file {path!r} of {owner} cannot be read: {error}") from error

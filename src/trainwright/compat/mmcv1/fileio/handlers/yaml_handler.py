"""YAML. What is read is data: no tag of a file makes an object."""

from __future__ import annotations

from typing import Any

import yaml

from trainwright.compat.mmcv1.fileio.handlers.base import BaseFileHandler

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CDumper", yaml.Dumper)


class _Loader(_SafeLoader):  # type: ignore[misc]
    """With tuples, which the dumper writes under a tag of PyYAML's."""


def _tuple(loader: Any, node: Any) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


class YamlHandler(BaseFileHandler):
    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        loader = kwargs.get("Loader", _Loader)(file)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()

    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> None:
        yaml.dump(obj, file, **{"Dumper": _Dumper, **kwargs})

    def dump_to_str(self, obj: Any, **kwargs: Any) -> Any:
        return yaml.dump(obj, **{"Dumper": _Dumper, **kwargs})

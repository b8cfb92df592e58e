"""YAML. What is read is data, tuples included: no tag of a file makes an object."""

from __future__ import annotations

from typing import Any

import yaml

from trainwright.compat.mmcv1.fileio.handlers.base import BaseFileHandler
from trainwright.config.yaml_tags import read

_Dumper: Any = getattr(yaml, "CDumper", yaml.Dumper)


class YamlHandler(BaseFileHandler):
    """`Loader=` and `Dumper=` take classes of PyYAML in place of these."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        if "Loader" not in kwargs:
            text = file.read()
            return read(text if isinstance(text, str) else text.decode("utf-8"))
        loader = kwargs["Loader"](file)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()

    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> None:
        yaml.dump(obj, file, **{"Dumper": _Dumper, **kwargs})

    def dump_to_str(self, obj: Any, **kwargs: Any) -> Any:
        return yaml.dump(obj, **{"Dumper": _Dumper, **kwargs})

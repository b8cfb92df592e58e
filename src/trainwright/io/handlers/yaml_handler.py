"""YAML. What is read is data, tuples included: no tag of a file makes an object."""

from __future__ import annotations

from typing import Any

from trainwright.io.handlers.base import BaseFileHandler


class YamlHandler(BaseFileHandler):
    """`Loader=` and `Dumper=` take classes of PyYAML in place of ours. `trusted` is of no matter: what is read is
    data.
    """

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        kwargs.pop("trusted", None)
        if "Loader" not in kwargs:
            from trainwright.config.yaml_tags import read

            text = file.read()
            return read(text if isinstance(text, str) else text.decode("utf-8"))
        loader = kwargs["Loader"](file)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()

    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> None:
        _dump(obj, file, kwargs)

    def dump_to_str(self, obj: Any, **kwargs: Any) -> Any:
        return _dump(obj, None, kwargs)


def _dump(obj: Any, file: Any, kwargs: dict[str, Any]) -> Any:
    import yaml

    return yaml.dump(obj, file, **{"Dumper": getattr(yaml, "CDumper", yaml.Dumper), **kwargs})

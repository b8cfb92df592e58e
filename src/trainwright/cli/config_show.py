"""``trainwright config show``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from trainwright.cli.terminal import echo_json, echo_python
from trainwright.config import Config, parse_options

Path = tuple[Any, ...]


def read(config: str, cfg_options: Sequence[str], trusted: bool = True) -> Config:
    """The config with its overrides. Modules that it names are not imported: nothing here needs them."""
    cfg = Config.fromfile(config, import_custom_modules=False, trusted=trusted)
    cfg.merge_from_dict(parse_options(cfg_options), label="--cfg-options")
    return cfg


def show_config(config: str, origin: bool, cfg_options: Sequence[str], as_json: bool, trusted: bool = True) -> None:
    """Write the resolved config, with origins if asked; as JSON always with them."""
    cfg = read(config, cfg_options, trusted)
    if as_json:
        origins = {".".join(map(str, path)): as_dict(found) for path, _, found in leaf_origins(cfg)}
        echo_json({"config": cfg._to_lazy_dict(), "origins": origins, "defaults": _defaults(cfg)})
    elif origin:
        echo_python(_with_origins(cfg))
    else:
        echo_python(cfg.pretty_text)


def leaf_origins(cfg: Config) -> Iterator[tuple[Path, Any, Any]]:
    """(path, value, origin or None) of every leaf."""
    from trainwright.config.origins import origins

    yield from origins(cfg.source, cfg.overrides, cfg._to_lazy_dict())


def as_dict(origin: Any) -> dict[str, Any] | None:
    """An origin for JSON; where no more is known, it may be the name of a file."""
    if origin is None or isinstance(origin, str):
        return None if origin is None else {"file": origin, "line": None, "kind": "file", "label": origin}
    return {"file": origin.file, "line": origin.line, "kind": origin.kind, "label": str(origin)}


def _with_origins(cfg: Config) -> str:
    from trainwright.cli.config_origin import aligned, annotate

    known = {path: str(found) for path, _, found in leaf_origins(cfg) if found is not None}

    def origin_of(path: Path) -> str:
        return known.get(path) or str(cfg.origin(path) or "unknown")

    defaults = ["# " + f"{name} = {text}\n".replace("\n", "\n# ")[:-2] for name, text in _default_lines(cfg)]
    head = "\n# Set by no file, these are defaults:\n" if defaults else ""
    return "".join([aligned(annotate(cfg.pretty_text, origin_of)), head, *defaults])


def _defaults(cfg: Config) -> dict[str, Any]:
    """The settings that take effect although nothing in `cfg` sets them; of the default hooks, those it leaves out."""
    from trainwright.runner.spec import runner_defaults

    tree = cfg._to_lazy_dict()
    missing = {key: value for key, value in runner_defaults().items() if value is not None and tree.get(key) is None}
    hooks, given = runner_defaults()["default_hooks"], tree.get("default_hooks")
    if isinstance(given, dict):
        missing["default_hooks"] = {name: hook for name, hook in hooks.items() if name not in given}
    return {key: value for key, value in missing.items() if value != {}}


def _default_lines(cfg: Config) -> Iterator[tuple[str, str]]:
    """Name and value of each default, that of a default hook by itself."""
    from trainwright.config.diff import show

    for key, value in _defaults(cfg).items():
        items = {f"{key}.{name}": item for name, item in value.items()} if key == "default_hooks" else {key: value}
        for name, item in items.items():
            yield name, show(item)

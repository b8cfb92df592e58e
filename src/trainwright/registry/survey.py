"""What is registered where: counts and names for a whole tree of registries, and for all of them."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any

from trainwright.base.logs import print_log
from trainwright.registry.registry import Registry


def traverse_registry_tree(registry: Registry, verbose: bool = True) -> list[dict[str, Any]]:
    """One dict for each registry of the tree that `registry` is in, parents first.

    It has ``num_modules``, ``scope``, and the registered names by the folder of the module that defines them
    ("mmdet/models/backbones"). `verbose` logs the counts. API of mmengine.registry.
    """
    return _survey(registry.root, verbose)


def _survey(registry: Registry, verbose: bool) -> list[dict[str, Any]]:
    facts: dict[str, Any] = {"num_modules": len(registry.module_dict), "scope": registry.scope}
    for name, registered in registry.module_dict.items():
        module = str(getattr(registered, "__module__", None) or "")
        facts.setdefault("/".join(module.split(".")[:-1]), []).append(name)
    if verbose:
        print_log(
            f"{facts['num_modules']} names in registry {registry.name!r} of scope {registry.scope!r}", logger="current"
        )
    return [facts, *(below for child in registry.children.values() for below in _survey(child, verbose))]


def count_registered_modules(save_path: str | None = None, verbose: bool = True) -> dict[str, Any]:
    """``scan_date``, and under ``registries`` the tree of each root registry as `traverse_registry_tree` gives it.

    With `save_path` the result is written into that folder too, as ``modules_statistic_results.json``. API of
    mmengine.registry.
    """
    from trainwright.registry import root

    found = {name: value for name, value in sorted(vars(root).items()) if isinstance(value, Registry)}
    for registry in found.values():
        registry.import_from_location()
    scan = {
        "scan_date": datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
        "registries": {name: traverse_registry_tree(registry, verbose) for name, registry in found.items()},
    }
    if save_path is not None:
        os.makedirs(save_path, exist_ok=True)
        path = os.path.join(save_path, "modules_statistic_results.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(scan, file, indent=2)
        print_log(f"what is registered was written to {path}", logger="current")
    return scan

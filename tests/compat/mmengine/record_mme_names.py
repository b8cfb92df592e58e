"""Writes `mme_names.json`: run it where MMEngine 0.10.7 is installed."""

import importlib
import json
import warnings
from pathlib import Path

import mme_names


def recorded():
    """By module, then by name."""
    import mmengine

    found = {}
    for place, path in mme_names.modules_of(Path(mmengine.__file__).parent):
        if path.name == "__init__.py":
            found[place] = mme_names.exported(place, path)
            continue
        module = importlib.import_module(f"mmengine.{place}")
        names = mme_names.defined(place, path)
        found[place] = {name: mme_names.described(getattr(module, name)) for name in names}
    return found


def main():
    """Write the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = recorded()
    lines = []
    for place, names in found.items():
        inner = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in names.items())
        lines.append(f" {json.dumps(place)}: {{\n{inner}\n }}")
    mme_names.RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

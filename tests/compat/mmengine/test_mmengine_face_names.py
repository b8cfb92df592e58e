"""The face has every public name of every module of MMEngine, and each is called as there.

`mme_names.json` is what MMEngine 0.10.7 has, written by `record_mme_names.py`. What ours takes besides comes after it, or
by keyword, and has a default.
"""

import importlib
import json

import pytest
from mme_names import RECORD, described
from mme_suite import face_installed

NAMES = json.loads(RECORD.read_text())

# What is not called, or not there, as in MMEngine; each of these is a row in docs/differences.md or has its reason here.
OTHERWISE: dict[str, str] = {
    "utils.progressbar.ProgressBar.__init__": "file=None is what stdout is at the call, not what it was at the import",
    "utils.progressbar.track_iter_progress": "file=None, as above",
    "utils.progressbar.track_parallel_progress": "file=None, as above",
    "utils.progressbar.track_progress": "file=None, as above",
}


@pytest.fixture(scope="module", autouse=True)
def face():
    with face_installed() as module:
        yield module


@pytest.mark.parametrize("place", NAMES)
def test_names_of(place):
    module = importlib.import_module(f"mmengine.{place}".rstrip("."))
    wrong = []
    for name, wanted in NAMES[place].items():
        where = f"{place}.{name}".lstrip(".")
        if where in OTHERWISE:
            continue
        if not hasattr(module, name):
            wrong.append(f"{where} is missing")
        elif isinstance(wanted, str):
            if wanted != "value" and getattr(module, name) is not other(wanted, name):
                wrong.append(f"{where} is not that of {wanted}")
        else:
            wrong += [text for text in differences(where, wanted, getattr(module, name)) if not is_known(text)]
    assert not wrong, "\n".join(wrong)


def other(place, name):
    return getattr(importlib.import_module(f"mmengine.{place}"), name)


def is_known(text):
    return text.partition(":")[0] in OTHERWISE


def differences(where, wanted, value):
    """What is called otherwise, one text each: `place.name: ...` or `place.name.method: ...`."""
    if isinstance(wanted, list):
        return called_otherwise(where, wanted, described(value))
    if not isinstance(value, type):
        return [f"{where}: no class"]
    has = {}
    for base in reversed(value.__mro__[:-1]):
        has.update(described(base))
    found = []
    for method, parameters in wanted.items():
        if parameters == "property":
            found += [] if hasattr(value, method) or method in annotated(value) else [f"{where}.{method}: missing"]
        elif method in has:
            found += called_otherwise(f"{where}.{method}", parameters, has[method])
        elif method != "__init__" or "__new__" not in vars(value):
            found.append(f"{where}.{method}: missing")
    return found


def annotated(value):
    return {name for base in value.__mro__ for name in vars(base).get("__annotations__", ())}


def called_otherwise(where, wanted, has):
    if not isinstance(has, list):
        return [f"{where}: {has}, no function"]
    positional, by_keyword = split(wanted)
    our_positional, our_keyword = split(has)
    shared = zip(positional, our_positional, strict=False)
    same = [is_same(there, here) or (not place and is_receiver(there)) for place, (there, here) in enumerate(shared)]
    more = our_positional[len(positional) :]
    takes_any = any(text.startswith("**") for text in our_keyword)
    rest = [text for text in by_keyword if not any(is_same(text, here) for here in our_keyword + more)]
    missing = [text for text in rest if not (takes_any and "=" in text)]
    names = {text.partition("=")[0] for text in by_keyword}
    needed = [text for text in more + our_keyword if not text.startswith("*") and "=" not in text and text not in names]
    if len(same) == len(positional) and all(same) and not missing and not needed:
        return []
    return [f"{where}: ({', '.join(has)}), there ({', '.join(wanted)})"]


def is_same(there, here):
    """Ours may have a default where there is none; what `*args` and `**kwargs` are called does not matter."""
    if there.startswith("*"):
        return here.startswith("*" * there.count("*")) and here.count("*") == there.count("*")
    return there == here or (there == here.partition("=")[0])


def is_receiver(name):
    """`self`, by whatever name."""
    return name in ("self", "cls") or name.startswith("_")


def split(parameters):
    """Those that may come by position, and the rest."""
    for place, text in enumerate(parameters):
        if text.startswith("*"):
            return parameters[:place], [one for one in parameters[place:] if one != "*"]
    return parameters, []

"""The public names of MMEngine's modules and how they are called, as plain data.

`python record_mme_names.py`, in an environment that has MMEngine 0.10.7, writes `mme_names.json`.
"""

import ast
import importlib
import inspect
from pathlib import Path

RECORD = Path(__file__).parent / "mme_names.json"
# Private names that downstream code imports.
PRIVATE = {
    "evaluator.metric": ["_to_cpu"],
    "analysis.print_helper": ["_format_size"],
    "optim.scheduler.param_scheduler": ["_ParamScheduler"],
    "runner.checkpoint": ["_load_checkpoint", "_load_checkpoint_to_model", "_load_checkpoint_with_prefix"],
    "utils.dl_utils.parrots_wrapper": ["_BatchNorm", "_ConvNd", "_InstanceNorm"],
}


def modules_of(folder):
    """Every module below the folder of the package, by its place in it: "" is the package."""
    for path in sorted(Path(folder).rglob("*.py")):
        yield ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix("__init__").rstrip("."), path


def exported(place, path):
    """Of a package: the names that it has of its own modules, each with the place of that module."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            module = f"{place}.{node.module}".lstrip(".")
            for alias in node.names:
                names = importlib.import_module(f"mmengine.{module}").__all__ if alias.name == "*" else [alias.name]
                found.update(dict.fromkeys(names, module))
    return dict(sorted(found.items()))


def defined(place, path):
    """Of a module: the public names that it defines, and the private ones that are used elsewhere."""
    found = set(PRIVATE.get(place, ()))
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if not name.startswith("_"):
                found.add(name)
            case ast.Assign(targets=targets):
                found.update(target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return sorted(name for name in found if not name.startswith("_") or name in PRIVATE.get(place, ()))


def described(value):
    """How a function is called, or how a class is made and how its public methods are called; else what kind it is."""
    if inspect.isclass(value):
        methods = {}
        for name, member in sorted(vars(value).items()):
            function = getattr(member, "__func__", member)
            if (name == "__init__" or not name.startswith("_")) and inspect.isfunction(function):
                methods[name] = parameters_of(function)
            elif not name.startswith("_") and isinstance(member, property):
                methods[name] = "property"
        return methods
    return parameters_of(value) if inspect.isfunction(value) else "value"


def parameters_of(function):
    """The parameters as texts: `name`, `name=default`, `*names`, `**names`, and `*` before those by keyword alone."""
    texts = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not any(text.startswith("*") for text in texts):
            texts.append("*")
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"={shown(parameter.default)}"
        texts.append(f"{stars}{parameter.name}{default}")
    return texts


def shown(default):
    """A default that reads the same in every process: a class, a function or a registry by its name."""
    named = getattr(default, "__qualname__", None) or getattr(default, "name", None)
    return named if isinstance(named, str) else repr(default)

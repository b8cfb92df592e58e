"""The command that runs a script with a face on, and otherwise as Python would run it."""

from __future__ import annotations

import os
import pkgutil
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.compat.faces import FACES, face

VARIABLE = "TRAINWRIGHT_FACES"
USAGE = f"""\
usage: python -m trainwright.compat FACE [FACE ...] -- script.py [ARGS ...]
       python -m trainwright.compat FACE [FACE ...] -- -m module [ARGS ...]

Runs a script, or a module, that was written for another engine on Trainwright's: what it imports of that engine is
Trainwright's. It is not changed, and need not know. Processes that it starts have the faces too ({VARIABLE} and
PYTHONPATH are set for them).

faces:
  mmcv1       mmcv.runner, mmcv.utils, mmcv.parallel, mmcv.engine and mmcv.fileio of MMCV 1.x, inside an installed mmcv
              (1.x or 2.x) or alone
  detectron2  detectron2.engine.train_loop, detectron2.engine.hooks and detectron2.utils.events, inside an installed
              detectron2 or alone
  mmengine    the whole of MMEngine 0.10, whether it is installed or not

In a program of your own: import trainwright.compat.mmcv1 as face; face.install()
"""


def main(arguments: Sequence[str]) -> int:
    """Gives the exit code, where the script itself does not end the process."""
    names, separator, rest = _split(arguments)
    if any(argument in ("-h", "--help") for argument in names):
        sys.stdout.write(USAGE)
        return 0
    try:
        faces = [face(name) for name in names]
        if not faces:
            raise ConfigError(f"name a face: {', '.join(FACES)}")
        if not separator or not rest:
            raise ConfigError(f"name a script behind --, as in `python -m trainwright.compat {names[0]} -- train.py`")
        if rest[0] == "-m" and len(rest) == 1:
            raise ConfigError("-m wants the name of a module")
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n\n{USAGE.splitlines()[0]}\n")
        return 2
    for one in faces:
        one.install()
    _tell_children(names)
    return _run_module(rest[1], rest[2:]) if rest[0] == "-m" else _run_script(rest[0], rest[1:])


def _split(arguments: Sequence[str]) -> tuple[list[str], bool, list[str]]:
    if "--" not in arguments:
        return list(arguments), False, []
    place = list(arguments).index("--")
    return list(arguments[:place]), True, list(arguments[place + 1 :])


def _tell_children(names: Sequence[str]) -> None:
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "startup")
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != folder]
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *paths])
    os.environ[VARIABLE] = ",".join(dict.fromkeys(names))


def _run_script(given: str, arguments: Sequence[str]) -> int:
    sys.argv = [given, *arguments]
    path = os.path.abspath(given)
    if not os.path.exists(path):
        sys.stderr.write(f"{sys.executable}: can't open file {path!r}: no such file\n")
        return 2
    if pkgutil.get_importer(given) is not None:  # a folder or an archive with a __main__.py in it
        return _traced(lambda: runpy.run_path(given, run_name="__main__"), None)
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.realpath(path))  # where `python -m` has put the working folder
    loader = _ScriptLoader("__main__", path)
    main_module = _new_main(__file__=path, __loader__=loader, __cached__=None)
    return _traced(lambda: loader.exec_module(main_module), path)


class _ScriptLoader(SourceFileLoader):
    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Nothing: of a script Python keeps no compiled copy."""


def _run_module(name: str, arguments: Sequence[str]) -> int:
    sys.argv = [name, *arguments]
    _new_main()
    return _traced(lambda: runpy._run_module_as_main(name), runpy.__file__)  # type: ignore[attr-defined]


def _new_main(**attributes: Any) -> ModuleType:
    """An empty `__main__`, which stays until the process ends: what is pickled by that name is found there."""
    module = ModuleType("__main__")
    vars(module).update(__builtins__=__builtins__, **attributes)
    sys.modules["__main__"] = module
    return module


def _traced(run: Any, first_file: str | None) -> int:
    """Run; an error is shown from the frame on that is in `first_file`, as if nothing stood around it."""
    try:
        run()
    except Exception as error:  # noqa: BLE001 - what nobody has caught is shown, as Python does at the end of a script
        trace = error.__traceback__
        while trace is not None and first_file is not None and trace.tb_frame.f_code.co_filename != first_file:
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return 1
    return 0

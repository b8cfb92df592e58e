"""Python imports this at its start where the folder of this file is on PYTHONPATH: `python -m trainwright.compat` puts
it there, for the processes that a script starts (loader workers by spawn, ranks by torchrun).
"""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(_HERE)))


def _put_faces_on() -> None:
    names = os.environ.get("TRAINWRIGHT_FACES", "").split(",")
    if importlib.util.find_spec("trainwright") is None:  # the parent had it by its working folder alone
        sys.path.append(_ROOT)
    from trainwright.compat.faces import face

    for name in names:
        if name:
            face(name).install()


def _run_the_other() -> None:
    """The sitecustomize that Python would have imported without this one."""
    others = [path for path in sys.path if os.path.abspath(path) != _HERE]
    found = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if found is not None and found.loader is not None:
        module = importlib.util.module_from_spec(found)
        sys.modules["sitecustomize"] = module
        found.loader.exec_module(module)


_put_faces_on()
_run_the_other()

"""Files as other tools write them, made without these tools: stand-ins for their classes under their names."""

import sys
import types
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def classes(**named):
    """Modules with these classes while the context is open; ``a__b__C=base`` is the class C of a.b."""
    made, before = {}, dict(sys.modules)
    for path, base in named.items():
        *modules, name = path.split("__")
        module = ".".join(modules)
        for n in range(1, len(modules) + 1):
            part = ".".join(modules[:n])
            sys.modules.setdefault(part, types.ModuleType(part))
        made[name] = type(name, (base,), {"__module__": module})
        setattr(sys.modules[module], name, made[name])
    try:
        yield types.SimpleNamespace(**made)
    finally:
        for name in set(sys.modules) - set(before):
            del sys.modules[name]


class History:
    """As MMEngine's keeps its values, its functions among them."""

    def __init__(self, values):
        self.max_length = 100
        self._log_history = np.array(values)
        self._count_history = np.ones(len(values), dtype=np.int64)
        self.statistics_methods = {"mean": type(self).mean}

    def mean(self):
        return 0

    mean.__module__ = "mmengine.logging.history_buffer"
    mean.__qualname__ = "HistoryBuffer.mean"


def mmcv_tree(state, optimizer=None):
    """A checkpoint as MMCV 1.x's Runner makes it: the counters and the config's text in ``meta``."""
    meta = {
        "mmcv_version": "1.7.1",
        "time": "Fri Mar  3 10:00:00 2023",
        "epoch": 2,
        "iter": 8,
        "config": "model = dict(type='Toy')\nimport os\n",
        "CLASSES": ("a", "b"),
        "PALETTE": np.array([[220, 20, 60], [0, 0, 142]], dtype=np.uint8),
        "seed": np.int64(3),
    }
    tree = {"meta": meta, "state_dict": state}
    return tree if optimizer is None else {**tree, "optimizer": optimizer}


def linear_state():
    return torch.nn.Linear(3, 2).state_dict()

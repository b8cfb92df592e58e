"""What the tests share that check, through ``import mmengine``, what MMEngine 0.10.7 promises.

Each of them runs on the face of ours, and with the marker ``peer`` on MMEngine 0.10.7 itself, where it is installed.
"""

import contextlib
import importlib.util
import sys
from unittest import mock

IS_INSTALLED = importlib.util.find_spec("mmengine") is not None


@contextlib.contextmanager
def face_installed():
    """``import mmengine`` finds ours, and is as before afterwards."""
    import trainwright.compat.mmengine as face

    before = set(sys.modules)
    face.install()
    try:
        import mmengine

        yield mmengine
    finally:
        face.uninstall()
    left = {name for name in set(sys.modules) - before if name.partition(".")[0] == "mmengine"}
    assert not left, f"modules left behind: {sorted(left)}"


@contextlib.contextmanager
def peer_installed():
    """``import mmengine`` finds MMEngine."""
    import mmengine

    assert "trainwright" not in mmengine.__file__
    yield mmengine


@contextlib.contextmanager
def packages(*names):
    """Mocks in the place of packages that are not installed."""
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in names}):
        yield [sys.modules[name] for name in names]


def has_gpu():
    import torch

    return torch.cuda.is_available()

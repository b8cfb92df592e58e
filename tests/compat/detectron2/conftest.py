import importlib
import sys

import pytest


@pytest.fixture(scope="module")
def detectron2():
    """``import detectron2`` finds ours, and is as before afterwards."""
    import trainwright.compat.detectron2 as face

    before = set(sys.modules)
    face.install()
    try:
        for name in ("detectron2.engine.hooks", "detectron2.engine.train_loop", "detectron2.utils.events"):
            importlib.import_module(name)
        yield sys.modules["detectron2"]
    finally:
        face.uninstall()
    left = {name for name in set(sys.modules) - before if name.partition(".")[0] == "detectron2"}
    assert not left, f"modules left behind: {sorted(left)}"


@pytest.fixture
def loop(detectron2):
    return detectron2.engine.train_loop


@pytest.fixture
def hooks(detectron2):
    return detectron2.engine.hooks

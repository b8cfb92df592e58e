import contextlib
import warnings

import pytest
from mme_suite import IS_INSTALLED, face_installed, peer_installed

_PEER = [pytest.param("peer", marks=pytest.mark.peer)] if IS_INSTALLED else []


@pytest.fixture(params=["ours", *_PEER], scope="module")
def mmengine_of(request):
    with face_installed() if request.param == "ours" else _quiet(peer_installed()) as module:
        yield module, request.param


@contextlib.contextmanager
def _quiet(context):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with context as module:
            yield module


@pytest.fixture
def mmengine(mmengine_of):
    """``import mmengine`` is ours, or with the marker ``peer`` MMEngine itself. Its own warnings are its own affair.

    A module of tests asks for it by ``pytestmark = pytest.mark.usefixtures("mmengine")``, and imports inside the tests.
    """
    module, of = mmengine_of
    with warnings.catch_warnings():
        if of == "peer":
            warnings.simplefilter("ignore")
        yield module


@pytest.fixture
def is_peer(mmengine_of):
    return mmengine_of[1] == "peer"

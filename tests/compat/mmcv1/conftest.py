import contextlib
import warnings

import pytest
from mmcv1_suite import face_installed, peer_installed


@pytest.fixture(params=["ours", pytest.param("peer", marks=pytest.mark.mmcv1)], scope="module")
def mmcv_of(request):
    with face_installed() if request.param == "ours" else _quiet(peer_installed()) as module:
        yield module, request.param


@contextlib.contextmanager
def _quiet(context):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with context as module:
            yield module


@pytest.fixture
def mmcv(mmcv_of):
    """``import mmcv`` is ours, or with the marker ``mmcv1`` MMCV 1.7.2 itself. Its own warnings are its own affair."""
    module, of = mmcv_of
    with warnings.catch_warnings():
        if of == "peer":
            warnings.simplefilter("ignore")
        yield module


@pytest.fixture
def is_peer(mmcv_of):
    return mmcv_of[1] == "peer"

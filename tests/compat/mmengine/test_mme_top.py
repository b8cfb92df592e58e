"""The package itself and its version."""

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")


def test_version():
    import mmengine
    from mmengine.version import parse_version_info, version_info

    assert mmengine.__version__ == "0.10.7"
    assert mmengine.version_info is version_info
    assert version_info == (0, 10, 7)
    assert parse_version_info("1.2.0rc1") == (1, 2, 0, "rc1")


def test_the_package_has_what_its_five_rooms_export():
    import mmengine
    from mmengine import config, logging, registry

    for room in (config, logging, registry):
        for name in room.__all__:
            assert getattr(mmengine, name) is getattr(room, name)

import tempfile

import pytest

from trainwright.data import node_files


@pytest.fixture
def node(tmp_path, monkeypatch):
    """The places for shared files, of this test alone; they are empty again at its end."""
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    memory.mkdir()
    disk.mkdir()
    monkeypatch.setattr(node_files, "SHARED_MEMORY", str(memory))
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    yield memory, disk
    left = [path.name for place in (memory, disk) for path in place.iterdir()]
    assert not left, f"shared files left behind: {left}"

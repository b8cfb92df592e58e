import fsspec
import pytest

from trainwright.io import is_url, read_bytes, url_exists


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    yield files
    for path in files.find("/storage-test"):
        files.rm(path)
    if files.exists("/storage-test"):
        files.rmdir("/storage-test")


@pytest.mark.parametrize(
    "path", ["s3://bucket/key", "memory://x", "file:///tmp/x", "simplecache::s3://bucket/key", "git+ssh://host/x"]
)
def test_urls(path):
    assert is_url(path)


@pytest.mark.parametrize("path", ["a.pth", "/abs/a.pth", "dir/http://x", "C:\\a", "://x", "", "a:b", "~/x"])
def test_no_urls(path):
    assert not is_url(path)


def test_bytes_of_a_url(memory):
    memory.pipe_file("/storage-test/a.bin", b"\x00far away")
    assert url_exists("memory://storage-test/a.bin")
    assert read_bytes("memory://storage-test/a.bin") == b"\x00far away"


def test_what_is_not_there(memory, tmp_path):
    memory.pipe_file("/storage-test/a.bin", b"")
    assert not url_exists("memory://storage-test/b.bin")
    assert not url_exists("memory://storage-test")  # a folder
    with pytest.raises(FileNotFoundError):
        read_bytes("memory://storage-test/b.bin")
    assert not url_exists(str(tmp_path / "x"))
    with pytest.raises(FileNotFoundError):
        read_bytes(str(tmp_path / "x"))


def test_local_paths(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"near")
    assert read_bytes(str(tmp_path / "a.bin")) == b"near"
    assert read_bytes(f"file://{tmp_path}/a.bin") == b"near"
    assert url_exists(str(tmp_path / "a.bin"))
    assert not url_exists(str(tmp_path))

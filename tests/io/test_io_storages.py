"""Storages by URL: what fsspec reaches, and a web server."""

import http.server
import sys
import threading
import uuid
import zipfile
from pathlib import Path
from unittest import mock
from urllib.error import HTTPError

import fsspec
import pytest

import trainwright.io as io
from trainwright.base.errors import MissingExtraError, UnsupportedOperationError
from trainwright.io import FsspecBackend, PetrelBackend


@pytest.fixture
def root():
    """A folder in fsspec's memory."""
    url = f"memory://io-{uuid.uuid4().hex}"
    yield url
    files = fsspec.filesystem("memory")
    if files.exists(url):
        files.rm(url, recursive=True)


@pytest.fixture
def by_url(root, tmp_path, request):
    return root if request.param == "memory" else f"file://{tmp_path}/new"


everywhere = pytest.mark.parametrize("by_url", ["memory", "file"], indirect=True)


@everywhere
def test_all_operations(by_url, tmp_path):
    assert isinstance(io.get_file_backend(by_url), FsspecBackend)
    io.put(b"\x00", f"{by_url}/deep/a.bin")
    io.put_text("\u4e2d", f"{by_url}/b.txt")
    assert (io.get(f"{by_url}/deep/a.bin"), io.get_text(f"{by_url}/b.txt")) == (b"\x00", "\u4e2d")
    assert io.exists(f"{by_url}/deep")
    assert io.isdir(f"{by_url}/deep")
    assert not io.isfile(f"{by_url}/deep")
    assert io.isfile(f"{by_url}/deep/a.bin")
    assert not io.exists(f"{by_url}/none")
    assert io.join_path(f"{by_url}/", "/x", "y") == f"{by_url}/x/y"
    with io.get_local_path(f"{by_url}/b.txt") as path:
        assert Path(path).read_text() == "\u4e2d"
        assert path.endswith(".txt")
    assert not Path(path).exists()
    with pytest.raises(FileNotFoundError, match="has no file"), io.get_local_path(f"{by_url}/none"):
        pass
    assert io.copyfile(f"{by_url}/b.txt", f"{by_url}/deep") == f"{by_url}/deep/b.txt"
    assert io.copytree(f"{by_url}/deep", f"{by_url}/copy") == f"{by_url}/copy"
    assert io.copy_if_symlink_fails(f"{by_url}/copy", f"{by_url}/copy2") is False
    with pytest.raises(FileExistsError, match="dst should not exist"):
        io.copytree(f"{by_url}/deep", f"{by_url}/copy")
    found = {"b.txt", "copy", "copy/a.bin", "copy/b.txt", "copy2", "copy2/a.bin", "copy2/b.txt", "deep"}
    assert set(io.list_dir_or_file(by_url, recursive=True)) == found | {"deep/a.bin", "deep/b.txt"}
    assert set(io.list_dir_or_file(by_url, list_dir=False, suffix=".txt")) == {"b.txt"}
    io.rmtree(f"{by_url}/copy")
    assert not io.exists(f"{by_url}/copy")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        io.rmtree(f"{by_url}/copy")
    io.remove(f"{by_url}/b.txt")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        io.remove(f"{by_url}/b.txt")
    with pytest.raises(IsADirectoryError, match="rmtree deletes that"):
        io.remove(f"{by_url}/deep")
    for suffix in ("json", "yaml", "pkl"):
        io.dump({"a": [1]}, f"{by_url}/data.{suffix}")
        assert io.load(f"{by_url}/data.{suffix}", trusted=True) == {"a": [1]}
    (tmp_path / "list.txt").write_text("1 cat\n2 dog cow\n")
    io.copyfile_from_local(tmp_path / "list.txt", f"{by_url}/deep")
    assert io.list_from_file(f"{by_url}/deep/list.txt") == ["1 cat", "2 dog cow"]
    assert io.dict_from_file(f"{by_url}/deep/list.txt", int) == {1: "cat", 2: ["dog", "cow"]}


@everywhere
def test_to_and_from_this_machine(by_url, tmp_path):
    for name in ("a", "b/c"):
        io.put_text(name, tmp_path / "here" / name)
    assert io.copytree_from_local(tmp_path / "here", f"{by_url}/there") == f"{by_url}/there"
    assert io.copytree_to_local(f"{by_url}/there", tmp_path / "back") == tmp_path / "back"
    assert (tmp_path / "back" / "b" / "c").read_text() == "b/c"
    (tmp_path / "folder").mkdir()
    assert io.copyfile_to_local(f"{by_url}/there/a", str(tmp_path / "folder")) == str(tmp_path / "folder" / "a")
    assert io.copyfile_to_local(f"{by_url}/there/a", tmp_path / "x" / "y") == tmp_path / "x" / "y"
    assert (tmp_path / "x" / "y").read_text() == "a"


def test_a_local_url_is_written_as_a_whole(tmp_path):
    io.put(b"old", f"file://{tmp_path}/a")
    with mock.patch("os.replace", side_effect=OSError("disk full")), pytest.raises(OSError, match="disk full"):
        io.put(b"new", f"file://{tmp_path}/a")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_a_chain_of_storages(root, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("inside.txt", "zipped")
    io.copyfile_from_local(tmp_path / "x.zip", f"{root}/x.zip")
    assert io.get_text(f"zip://inside.txt::{root}/x.zip") == "zipped"


def test_a_folder_may_have_a_marker_and_what_was_listed_is_looked_up_again(root):
    io.put(b"1", f"{root}/folder/a")
    files = fsspec.filesystem("memory")
    name = files._strip_protocol(f"{root}/folder")
    entries = [
        {"name": f"{name}/", "type": "directory", "size": 0},
        {"name": f"{name}/a", "type": "file", "size": 1},
    ]
    with (
        mock.patch.object(type(files), "ls", return_value=entries),
        mock.patch.object(type(files), "invalidate_cache") as invalidate,
    ):
        assert list(io.list_dir_or_file(f"{root}/folder")) == ["a"]
        invalidate.assert_called()


def test_options_and_mapping(root):
    settings = {"backend": "fsspec", "path_mapping": {"data/": f"{root}/"}}
    io.put(b"1", "data/a", backend_args=settings)
    assert io.get(f"{root}/a") == b"1"
    assert io.copyfile("data/a", "data/b", backend_args=settings) == f"{root}/b"
    twice = {"backend": "fsspec", "path_mapping": {root: f"{root}/io"}}
    assert io.copyfile(f"{root}/a", f"{root}/b", backend_args={**settings, "path_mapping": {}}) == f"{root}/b"
    io.put(b"2", f"{root}/a", backend_args=twice)
    assert io.copyfile(f"{root}/a", f"{root}/c", backend_args=twice) == f"{root}/io/c"  # mapped once
    assert io.get(f"{root}/io/c") == b"2"
    with mock.patch("fsspec.core.url_to_fs", wraps=fsspec.core.url_to_fs) as opened:
        FsspecBackend(skip_instance_cache=True).exists(f"{root}/a")
        opened.assert_called_with(f"{root}/a", skip_instance_cache=True)


def test_object_storage_without_petrels_client(root):
    with mock.patch.dict(sys.modules, {"petrel_client": None}):
        backend = PetrelBackend(path_mapping={"s3://bucket": root})
        with mock.patch("fsspec.core.url_to_fs", side_effect=ImportError("Install s3fs to access S3")):
            for url in ("s3://x/y", "petrel://x/y", "cluster:s3://x/y"):
                with pytest.raises(MissingExtraError, match=r"'.*x/y' is reached through fsspec.*Install s3fs"):
                    PetrelBackend().get(url)
    backend.put_text("text", "s3://bucket/deep/a")
    assert backend.get_text("s3://bucket/deep/a") == "text"
    backend.rmtree("s3://bucket/deep")
    assert not backend.exists("s3://bucket/deep")
    with mock.patch("fsspec.core.url_to_fs", return_value=(mock.MagicMock(), "x/y")) as opened:
        PetrelBackend().get("cluster:petrel://x/y")
        opened.assert_called_once_with("s3://x/y")


def test_signed_urls(root):
    with pytest.raises(UnsupportedOperationError, match="gives no signed URLs"):
        io.generate_presigned_url(f"{root}/a")
    files = type(fsspec.filesystem("memory"))
    with mock.patch.object(files, "sign", return_value="https://signed") as sign:
        assert io.generate_presigned_url(f"{root}/a", expires_in=60) == "https://signed"
        assert io.generate_presigned_url(f"{root}/a", "put_object") == "https://signed"
    path = files._strip_protocol(f"{root}/a")
    assert sign.call_args_list == [
        mock.call(path, expiration=60),
        mock.call(path, expiration=3600, client_method="put_object"),
    ]


class Pages(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        if self.path == "/no-head":
            self.send_error(405)
        elif self.path == "/broken":
            self.send_error(500)
        else:
            self.do_GET(with_body=False)

    def do_GET(self, with_body=True):
        if self.path == "/none":
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        if with_body:
            self.wfile.write(b"page")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    with http.server.HTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with mock.patch.dict("os.environ", {"no_proxy": "127.0.0.1"}):
            yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_web_server(site, tmp_path):
    assert io.get(f"{site}/a.txt") == b"page"
    assert io.get_text(f"{site}/a.txt") == "page"
    assert io.exists(f"{site}/a.txt")
    assert io.isfile(f"{site}/no-head")
    assert not io.exists(f"{site}/none")
    with pytest.raises(HTTPError, match="500"):
        io.exists(f"{site}/broken")
    with pytest.raises(HTTPError, match="404"):
        io.get(f"{site}/none")
    with io.get_local_path(f"{site}/a.txt?x=1") as path:
        assert Path(path).read_bytes() == b"page"
        assert path.endswith(".txt")
    assert io.join_path(f"{site}/", "a", "/b") == f"{site}/a/b"
    assert io.copyfile_to_local(f"{site}/a.txt?x=1", str(tmp_path)) == str(tmp_path / "a.txt")
    assert io.copyfile_to_local(f"{site}/a.txt", tmp_path / "b.txt") == tmp_path / "b.txt"
    assert (tmp_path / "b.txt").read_bytes() == b"page"
    with pytest.raises(
        UnsupportedOperationError, match=r"HTTPBackend has no put; it has get, get_text, copyfile_to_lo"
    ):
        io.put(b"", f"{site}/a.txt")

"""A folder that poses as a remote storage, and fails on demand: ``flaky://`` and the path of the folder."""

import fsspec
from fsspec.implementations.local import LocalFileSystem

from trainwright.io import remote_run


class FlakyFileSystem(LocalFileSystem):
    """``fail(n)``: the next n writes raise; ``torn``: the next write of an object leaves half of it and raises."""

    protocol = "flaky"
    cachable = False
    to_fail = 0
    torn = False
    unreachable = False
    calls: list[str] = []

    def _may_fail(self, what):
        cls = type(self)
        cls.calls.append(what)
        if cls.to_fail:
            cls.to_fail -= 1
            raise ConnectionError(f"the line is dead at {what}")

    def put_file(self, lpath, rpath, **kwargs):
        self._may_fail(f"put {rpath.rpartition('/')[2]}")
        if type(self).torn:
            type(self).torn = False
            with open(lpath, "rb") as source, open(self._strip_protocol(rpath), "wb") as target:
                target.write(source.read()[:100])
            raise ConnectionError("the line broke")
        super().put_file(lpath, rpath, **kwargs)

    def pipe_file(self, path, value, **kwargs):
        self._may_fail(f"write {path.rpartition('/')[2]}")
        super().pipe_file(path, value, **kwargs)

    def ls(self, path, detail=False, **kwargs):
        if type(self).unreachable:
            raise ConnectionError("no route to the storage")
        return super().ls(path, detail=detail, **kwargs)


def register():
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    FlakyFileSystem.to_fail, FlakyFileSystem.torn, FlakyFileSystem.unreachable = 0, False, False
    FlakyFileSystem.calls = []


def close_all():
    """What another process, or another machine, has not."""
    for run in list(remote_run._open.values()):
        run.close()


def quick(run):
    run.uploads.first_wait_s = run.read_wait_s = 0.001
    run.uploads.idle_s = 0.05
    return run

"""Files that would run code, or take all memory, in a reader that trusts them."""

import io
import os
import pickle
import resource
import struct
import tarfile
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import torch
import torch.distributed.checkpoint as dcp

MEMORY = 400 << 20  # what a refusal may take on top of what the process has


class Bomb:
    """Makes the folder ``fuse`` when it is unpickled."""

    def __init__(self, fuse):
        self.fuse = str(fuse)

    def __reduce__(self):
        return os.mkdir, (self.fuse,)


class Calls:
    """Calls anything by name when it is unpickled: the name need not exist."""

    def __init__(self, name, *args):
        self.name, self.args = name, args


def pickled(*instructions):
    """A pickle of protocol 2 from raw instructions."""
    return b"\x80\x02" + b"".join(instructions) + b"."


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def archive(path, data, storages=(), compression=zipfile.ZIP_STORED, prefix="archive"):
    """A torch zip around the pickle ``data``."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr(f"{prefix}/data.pkl", data)
        file.writestr(f"{prefix}/byteorder", "little")
        for key, content in dict(storages).items():
            file.writestr(f"{prefix}/data/{key}", content)
        file.writestr(f"{prefix}/version", "3\n")
    return path


def tensor(key, n_items, offset, shape, stride, kind="FloatStorage"):
    """Instructions that make a tensor over a storage, with whatever numbers."""
    ints = lambda values: b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"  # noqa: E731
    stored = b"(" + text("storage") + named("torch", kind) + text(key) + text("cpu") + integer(n_items) + b"tQ"
    return (
        named("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + stored
        + integer(offset)
        + ints(shape)
        + ints(stride)
        + b"\x89"
        + named("collections", "OrderedDict")
        + b")RtR"
    )


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value):
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def in_dict(value):
    return b"}" + text("w") + value + b"s"


def zip_bomb(folder, fuse):
    torch.save({"x": Bomb(fuse)}, folder / "a.pth")
    return folder / "a.pth"


def legacy(folder, fuse):
    torch.save({"x": Bomb(fuse)}, folder / "a.pth", _use_new_zipfile_serialization=False)
    return folder / "a.pth"


def tar(folder, fuse):
    with tarfile.open(folder / "a.pth", "w") as file:
        for name in ("storages", "tensors", "pickle"):
            data = pickle.dumps(Bomb(fuse))
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return folder / "a.pth"


def dcp_folder(folder, tree):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(tree, checkpoint_id=folder / "step")
    return folder / "step"


def dcp_metadata(folder, fuse):
    path = dcp_folder(folder, {"w": torch.ones(2)})
    metadata = pickle.loads((path / ".metadata").read_bytes())
    metadata.planner_data["x"] = Bomb(fuse)
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    return path


def dcp_bytes(folder, fuse):
    return dcp_folder(folder, {"w": torch.ones(2), "x": Bomb(fuse)})


def deflated(folder, fuse):
    n = 200_000_000
    data = pickled(in_dict(tensor("0", n // 4, 0, (n // 4,), (1,))))
    return archive(folder / "a.pth", data, {"0": b"\0" * n}, zipfile.ZIP_DEFLATED)


def stride_0(folder, fuse):
    torch.save({"w": torch.zeros(1).expand(10**9)}, folder / "a.pth")
    return folder / "a.pth"


# and more of the kind -------------------------------------------------------------------------------------------------


def bare_pickle(folder, fuse):
    (folder / "a.pkl").write_bytes(pickle.dumps({"model": {"w": np.ones(2)}, "x": Bomb(fuse)}, protocol=4))
    return folder / "a.pkl"


def beside_known_classes(folder, fuse):
    torch.save({"w": np.ones(2), "x": Bomb(fuse)}, folder / "a.pth")
    return folder / "a.pth"


def in_a_history(folder, fuse):
    state = b"}" + text("statistics_methods") + named("os", "mkdir") + text(str(fuse)) + b"\x85R" + b"s"
    data = pickled(in_dict(named("mmengine.logging.history_buffer", "HistoryBuffer") + b")\x81" + state + b"b"))
    return archive(folder / "a.pth", data)


def by_getattr(folder, fuse):
    made = named("__builtin__", "getattr") + b"(" + named("numpy", "ndarray") + text("tofile") + b"tR"
    return archive(folder / "a.pth", pickled(in_dict(made + text(str(fuse)) + b"\x85R")))


def by_a_retyped_tensor(folder, fuse):
    args = b"(" + named("os", "mkdir") + named("torch", "Tensor") + b"(" + text(str(fuse)) + b"t" + b"}t"
    return archive(folder / "a.pth", pickled(in_dict(named("torch._tensor", "_rebuild_from_type_v2") + args + b"R")))


def state_of_a_class(folder, fuse):
    data = named("numpy", "ndarray") + b"}" + text("__reduce__") + text("x") + b"sb"
    return archive(folder / "a.pth", pickled(in_dict(data)))


def path_traversal(folder, fuse):
    data = pickled(in_dict(tensor("../../etc/x", 1, 0, (1,), (1,))))
    return archive(folder / "a.pth", data, {"../../../x": b"\0" * 4})


def entries_of_one_name(folder, fuse):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive(folder / "a.pth", pickled(b"}"), {})
        with zipfile.ZipFile(folder / "a.pth", "a") as file:
            file.writestr("archive/data.pkl", pickle.dumps(Bomb(fuse)))
    return folder / "a.pth"


def holds_itself(folder, fuse):
    value = []
    value.append(value)
    torch.save({"x": value}, folder / "a.pth")
    return folder / "a.pth"


def a_billion_values(folder, fuse):
    value = [1]
    for _ in range(60):
        value = [value, value]
    torch.save({"x": value}, folder / "a.pth")
    return folder / "a.pth"


def a_billion_values_and_an_array(folder, fuse):
    value = [np.ones(2)]
    for _ in range(60):
        value = [value, value]
    torch.save({"x": value}, folder / "a.pth")
    return folder / "a.pth"


def nested_a_million_deep(folder, fuse):
    return archive(folder / "a.pth", pickled(in_dict(b"]" * 10**6 + b"a" * (10**6 - 1))))


def nested_in_calls(folder, fuse):
    calls = named("collections", "deque") * 10**5 + b")R" + b"\x85R" * (10**5 - 1)
    return archive(folder / "a.pth", pickled(in_dict(calls)))


def a_long_integer(folder, fuse):
    n = 8_000_000
    data = pickled(in_dict(b"\x8b" + struct.pack("<i", n) + b"\x7f" * n))
    return archive(folder / "a.pth", data)


def bytes_from_a_number(folder, fuse):
    made = named("__builtin__", "bytearray") + integer(10**11) + b"\x85R"
    return archive(folder / "a.pth", pickled(in_dict(made)))


def a_tensor_from_a_number(folder, fuse):
    made = named("torch", "FloatTensor") + integer(10**11) + b"\x85R"
    return archive(folder / "a.pth", pickled(in_dict(made)))


def a_claimed_storage(folder, fuse):
    return archive(folder / "a.pth", pickled(in_dict(tensor("0", 1 << 40, 0, (1 << 30,), (1,)))), {"0": b"\0" * 64})


def a_claimed_legacy_storage(folder, fuse):
    torch.save({"w": torch.ones(3)}, folder / "a.pth", _use_new_zipfile_serialization=False)
    data = bytearray((folder / "a.pth").read_bytes())
    at = data.index(struct.pack("<q", 3))
    data[at : at + 8] = struct.pack("<q", 1 << 40)
    (folder / "a.pth").write_bytes(data)
    return folder / "a.pth"


def out_of_the_storage(folder, fuse):
    return archive(folder / "a.pth", pickled(in_dict(tensor("0", 4, 1000, (4,), (1,)))), {"0": b"\0" * 16})


def a_negative_stride(folder, fuse):
    return archive(folder / "a.pth", pickled(in_dict(tensor("0", 4, 0, (4,), (-1000,)))), {"0": b"\0" * 16})


def with_an_array(folder, made, storages):
    """As the two above, with an array beside, so that our own reader takes the file."""
    array = pickle.dumps(np.ones(2), protocol=2)[2:-1]
    return archive(folder / "a.pth", pickled(b"}" + text("a") + array + b"s" + text("w") + made + b"s"), storages)


def out_of_the_storage_for_ours(folder, fuse):
    return with_an_array(folder, tensor("0", 4, 1000, (4,), (1,)), {"0": b"\0" * 16})


def a_negative_stride_for_ours(folder, fuse):
    return with_an_array(folder, tensor("0", 4, 3, (4,), (-1,)), {"0": b"\0" * 16})


def stride_0_for_ours(folder, fuse):
    return with_an_array(folder, tensor("0", 4, 0, (1 << 30,), (0,)), {"0": b"\0" * 16})


def array_of_a_claimed_shape(folder, fuse):
    array = pickle.dumps(np.ones(2), protocol=2)
    return archive(folder / "a.pth", pickled(in_dict(array[2:-1].replace(b"K\x02\x85", b"J\xff\xff\xff\x7f\x85"))))


def safetensors(folder, table, content=b""):
    head = table if isinstance(table, bytes) else repr(table).replace("'", '"').encode()
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + content)
    return folder / "a.safetensors"


def safetensors_terabyte_table(folder, fuse):
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    return folder / "a.safetensors"


def safetensors_terabyte_tensor(folder, fuse):
    return safetensors(folder, {"w": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}})


def safetensors_overlap(folder, fuse):
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    return safetensors(folder, {"a": entry, "b": entry}, b"\0" * 16)


def safetensors_deep_table(folder, fuse):
    return safetensors(folder, b'{"a":' * 10**6 + b"1" + b"}" * 10**6)


def dcp_elsewhere(folder, fuse):
    (folder / "secret").write_bytes(b"x" * 4000)
    path = dcp_folder(folder, {"w": torch.ones(2)})
    data = (path / ".metadata").read_bytes()
    name = b"__0_0.distcp"
    assert data.count(name) == 1
    (path / ".metadata").write_bytes(data.replace(name, b"../secret\0\0\0"))
    return path


def dcp_huge(folder, fuse):
    path = dcp_folder(folder, {"w": torch.ones(2)})
    metadata = pickle.loads((path / ".metadata").read_bytes())
    metadata.state_dict_metadata["w"].size = torch.Size([1 << 38])
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    return path


EIGHT = (zip_bomb, legacy, tar, dcp_metadata, dcp_bytes, deflated, stride_0)
MORE = (
    *(bare_pickle, beside_known_classes, in_a_history, by_getattr, by_a_retyped_tensor, state_of_a_class),
    *(path_traversal, entries_of_one_name, holds_itself, a_billion_values, a_billion_values_and_an_array),
    *(nested_a_million_deep, nested_in_calls, a_long_integer, bytes_from_a_number, a_tensor_from_a_number),
    *(a_claimed_storage, a_claimed_legacy_storage, out_of_the_storage, a_negative_stride),
    *(out_of_the_storage_for_ours, a_negative_stride_for_ours, stride_0_for_ours, array_of_a_claimed_shape),
    *(safetensors_terabyte_table, safetensors_terabyte_tensor, safetensors_overlap, safetensors_deep_table),
    *(dcp_elsewhere, dcp_huge),
)


def in_a_small_process(work, environment=None):
    """Run ``work()`` in a forked child that may take :data:`MEMORY` more than it has; its text, or how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            os.environ.update(environment or {})
            pages = int(open("/proc/self/statm").read().split()[0])  # noqa: SIM115
            limit = pages * resource.getpagesize() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - told to the parent
                result = f"{type(error).__name__}: {error}"
            os.write(writing, result.encode()[:60_000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        told = stream.read().decode()
    _, status = os.waitpid(child, 0)
    return told or f"ended with status {status}"


__all__ = ["EIGHT", "MORE", "OrderedDict", "in_a_small_process"]

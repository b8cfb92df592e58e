"""mmengine.dist in one process, without a process group: everything is as it was."""

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("mmengine")
CPU = torch.device("cpu")


def test_facts():
    from mmengine import dist

    assert dist.get_backend() is None
    assert dist.get_dist_info() == (dist.get_rank(), dist.get_world_size()) == (0, 1)
    assert (dist.get_local_rank(), dist.get_local_size()) == (0, 1)
    assert dist.get_local_group() is None
    assert dist.is_main_process()
    assert not dist.is_distributed()
    assert dist.master_only(lambda: "ran")() == "ran"
    dist.barrier()


@pytest.mark.parametrize("name", ["all_reduce", "broadcast"])
def test_collectives_in_place(name):
    from mmengine import dist

    data = torch.arange(2)
    getattr(dist, name)(data)
    assert data.tolist() == [0, 1]


def test_collectives_that_return():
    from mmengine import dist

    for name in ("all_gather", "gather"):
        (found,) = getattr(dist, name)(torch.arange(2))
        assert found.tolist() == [0, 1]
    for name in ("all_gather_object", "gather_object"):
        assert getattr(dist, name)("data") == ["data"]


def test_objects():
    from mmengine import dist

    data = ["data", 12, {1: 2}]
    dist.broadcast_object_list(data)
    assert data == ["data", 12, {1: 2}]
    with pytest.raises(AssertionError):
        dist.broadcast_object_list("data")


def test_dicts_and_parameters():
    from mmengine import dist

    data = {"a": torch.arange(2), "b": torch.arange(3)}
    dist.all_reduce_dict(data)
    assert [value.tolist() for value in data.values()] == [[0, 1], [0, 1, 2]]
    with pytest.raises(AssertionError):
        dist.all_reduce_dict("data")
    dist.all_reduce_params(value for value in data.values())
    assert data["b"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_results(device):
    from mmengine import dist

    assert dist.collect_results(["data", {1: 2}], 2, device=device) == ["data", {1: 2}]


def test_a_seed(monkeypatch):
    from mmengine import dist

    monkeypatch.setattr(np.random, "randint", lambda high: 1024)
    assert dist.sync_random_seed() == 1024


@pytest.mark.parametrize("data", [torch.arange(2), [torch.arange(2)] * 2, {"a": torch.arange(2), "b": torch.ones(1)}])
def test_where_data_lies(data):
    from mmengine import dist

    assert dist.get_data_device(data) == CPU


ELSEWHERE = torch.empty(1, device="meta")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ([torch.ones(1), 123], TypeError),
        ({"a": torch.ones(1), "b": 123}, TypeError),
        ("123", TypeError),
        ([], ValueError),
        ({}, ValueError),
        ([torch.ones(1), ELSEWHERE], ValueError),
        ({"a": torch.ones(1), "b": ELSEWHERE}, ValueError),
    ],
)
def test_data_that_lies_nowhere(data, error):
    from mmengine import dist

    with pytest.raises(error):
        dist.get_data_device(data)


def test_moving_data():
    from mmengine import dist

    assert dist.cast_data_device(torch.ones(1), torch.device("meta")).device.type == "meta"
    data = {"a": torch.arange(2), "b": [torch.ones(1), torch.ones(2)]}
    out = {"a": torch.zeros(2, dtype=torch.int64), "b": [torch.zeros(1), torch.zeros(2)]}
    found = dist.cast_data_device(data, CPU, out=out)
    assert found["a"].tolist() == out["a"].tolist() == [0, 1]
    assert [value.tolist() for value in out["b"]] == [[1], [1, 1]]


@pytest.mark.parametrize(
    ("data", "out", "error"),
    [
        ([torch.ones(1), 123], None, TypeError),
        ({"a": torch.ones(1), "b": 123}, None, TypeError),
        (123, None, TypeError),
        (np.zeros(2), None, TypeError),
        ([], None, ValueError),
        ({}, None, ValueError),
        (torch.ones(1), "123", TypeError),
        ({torch.ones(1)}, {torch.ones(1)}, TypeError),
    ],
)
def test_data_that_cannot_be_moved(data, out, error):
    from mmengine import dist

    with pytest.raises(error):
        dist.cast_data_device(data, CPU, out=out)


def test_launchers(monkeypatch):
    from mmengine import dist

    for name in ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert dist.infer_launcher() == "none"
    for name, launcher in (("OMPI_COMM_WORLD_LOCAL_RANK", "mpi"), ("SLURM_NTASKS", "slurm"), ("WORLD_SIZE", "pytorch")):
        monkeypatch.setenv(name, "1")
        assert dist.infer_launcher() == launcher
    with pytest.raises(ValueError, match="auncher"):
        dist.init_dist("nobody")
    with pytest.raises(TypeError):
        dist.init_dist("pytorch", timeout="long")

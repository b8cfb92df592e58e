"""MMEngine's functions of mmengine.dist: every name, its signature, and what it gives in one and in two processes."""

import inspect
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from trainwright import dist as ours
from trainwright.testing.ranks import run_ranks

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]
with warnings.catch_warnings():  # of what it calls that is deprecated by now
    warnings.simplefilter("ignore")
    pytest.importorskip("mmengine")
    from mmengine import dist as theirs


@pytest.mark.parametrize("name", sorted(theirs.__all__))
def test_names_and_signatures(name):
    found, expected = (inspect.signature(getattr(module, name)) for module in (ours, theirs))
    assert [(p.name, p.default, p.kind) for p in found.parameters.values()] == [
        (p.name, p.default, p.kind) for p in expected.parameters.values()
    ]


def plain(value):
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def reductions(module, rank):
    found = []
    for op in ("sum", "mean", "product", "min", "MAX"):
        for data in (torch.arange(4.0).view(2, 2) + rank, torch.arange(1, 4) + rank):
            module.all_reduce(data, op)
            found.append(data)
    for op in ("band", "bor", "bxor"):
        data = torch.arange(1, 4) + rank
        module.all_reduce(data, op)
        found.append(data)
    table = {"b": torch.ones(3) * rank, "a": torch.ones(2, 2) + rank}
    module.all_reduce_dict(table, "mean")
    for settings in ({}, {"bucket_size_mb": 1, "op": "mean"}, {"coalesce": False}):
        torch.manual_seed(rank)
        params = [*nn.Linear(3, 4).parameters(), torch.tensor([rank + 1])]
        module.all_reduce_params(iter(params), **settings)
        found.append([param.data for param in params])
    return [*found, table]


def everything(module):
    rank = module.get_rank()
    data, objects = torch.arange(3) + rank, ["r" * rank, {1: rank}]
    module.broadcast(data, src=0)
    module.broadcast_object_list(objects, 0)
    np.random.seed(rank + 3)
    results = list(range(rank, 7, module.get_world_size()))
    own = torch.tensor([rank, 2])
    pair = {"a": torch.ones(2), "b": [torch.zeros(1)]}
    out = {"a": torch.zeros(2), "b": [torch.ones(1)]}
    cast = module.cast_data_device(pair, torch.device("cpu"), out)
    found = {
        "info": [module.get_dist_info(), module.get_world_size(), module.is_distributed(), module.is_main_process()],
        "backend": [module.get_backend(), module.get_comm_device(), module.get_data_device(pair)],
        "broadcast": [data, objects],
        "gathered": [module.all_gather(own), module.gather(own), module.gather(own, 0)],
        "objects": [module.all_gather_object("r" * rank), module.gather_object(rank)],
        "results": [
            module.collect_results(results, 6),
            module.collect_results(results, 6, "gpu"),
            module.collect_results_gpu(results, 6),
            module.collect_results_cpu(results, 7),
        ],
        "seed": module.sync_random_seed(),
        "only_main": module.master_only(lambda: "ran")(),
        "cast": [cast, out],
        "barrier": module.barrier(),
        "reduced": reductions(module, rank),
    }
    if module.is_distributed():
        module.init_local_group(0, module.get_world_size())
        found["world"] = module.get_world_size(module.get_default_group())
        found["in_local"] = module.get_world_size(module.get_local_group())
    found["local"] = [module.get_local_rank(), module.get_local_size()]
    return plain(found)


def test_one_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert everything(ours) == everything(theirs)


def both():
    return everything(ours), everything(theirs)


def test_two_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where MMEngine leaves a folder
    for found, expected in run_ranks(2, both):
        assert found == expected


@pytest.mark.parametrize(
    ("variables", "launcher"),
    [
        ({}, "none"),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, "slurm"),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_RANK": "0"}, "mpi"),
        (dict.fromkeys(("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"), "1"), "pytorch"),
    ],
)
def test_the_launcher(monkeypatch, variables, launcher):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "SLURM_NTASKS", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ours.infer_launcher() == theirs.infer_launcher() == launcher

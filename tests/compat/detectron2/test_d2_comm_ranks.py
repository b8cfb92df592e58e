"""detectron2.utils.comm between two ranks."""

import torch

from trainwright.compat.detectron2.utils import comm
from trainwright.testing.ranks import run_ranks


def of_rank():
    rank = comm.get_rank()
    comm.create_local_process_group(1)
    comm.create_local_process_group(1)  # asked for again: the same
    comm.synchronize()
    reduced = comm.reduce_dict({"b": torch.tensor(1.0 + rank), "a": torch.tensor(2.0 * rank)})
    summed = comm.reduce_dict({"b": torch.tensor(1.0 + rank)}, average=False)
    return {
        "all_gather": comm.all_gather({"rank": rank}),
        "gather": comm.gather(rank),
        "to_the_other": comm.gather(rank, dst=1),
        "reduced": {name: float(value) for name, value in reduced.items()},
        "summed": float(summed["b"]),
        "local": (comm.get_local_rank(), comm.get_local_size(), comm.get_local_process_group() is not None),
        "main": comm.is_main_process(),
        "seed": comm.shared_random_seed(),
    }


def test_ranks_tell_each_other():
    first, second = run_ranks(2, of_rank)
    assert first["all_gather"] == second["all_gather"] == [{"rank": 0}, {"rank": 1}]
    assert (first["gather"], second["gather"]) == ([0, 1], [])
    assert (first["to_the_other"], second["to_the_other"]) == ([], [0, 1])
    assert first["reduced"] == {"a": 1.0, "b": 1.5}
    assert first["summed"] == 3.0
    assert first["local"] == second["local"] == (0, 1, True)
    assert (first["main"], second["main"]) == (True, False)
    assert first["seed"] == second["seed"]

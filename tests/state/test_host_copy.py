"""A state in the host's memory that is nobody else's."""

import pytest
import torch
from torch import nn

from trainwright import dist
from trainwright.state import HostCopies, HostMemory, host_copy
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import awkward_tree, differences


def test_a_copy_shares_nothing_and_keeps_what_was_shared():
    tree = awkward_tree()
    before = host_copy(tree)
    copied = host_copy(tree)
    assert not differences(tree, copied)
    theirs = {tensor.untyped_storage().data_ptr() for tensor in _tensors(tree) if tensor.numel()}
    assert theirs.isdisjoint(t.untyped_storage().data_ptr() for t in _tensors(copied))
    state = copied["state_dict"]
    assert state["a"].data_ptr() == state["b"].data_ptr()
    assert state._metadata == tree["state_dict"]._metadata
    assert copied["optimizer"]["again"] is copied["optimizer"]["state"][0]["avg"]
    assert copied["optimizer"]["again"].is_contiguous(memory_format=torch.channels_last)
    assert isinstance(copied["parameter"], nn.Parameter)
    tree["meta"]["names"].append("z")
    for tensor in _tensors(tree):
        if tensor.numel() and 0 not in tensor.stride():
            tensor.data.fill_(-1)
    assert not differences(before, copied)


def test_tensors_without_a_plain_storage_are_copied_too():
    sparse = torch.eye(3).to_sparse()
    imaginary = torch.tensor([1 + 2j]).conj()
    tree = {"sparse": sparse, "conj": imaginary, "meta": torch.empty(3, device="meta")}
    copied = host_copy(tree)
    assert copied["sparse"].values().data_ptr() != sparse.values().data_ptr()
    assert torch.equal(copied["sparse"].to_dense(), torch.eye(3))
    assert torch.equal(copied["conj"], imaginary)
    assert copied["meta"].is_meta


def test_memory_is_that_of_one_copy_and_is_used_again():
    state = {str(n): torch.randn(1000) for n in range(5)}
    memory = HostMemory()
    first = HostCopies(memory).tree(state)
    places = {t.data_ptr() for t in first.values()}
    assert memory.n_bytes == 5 * 4000
    memory.turn_over()
    del state["4"]
    state["new"] = torch.randn(10)
    second = HostCopies(memory).tree(state)
    memory.trim()
    assert memory.n_bytes == 4 * 4000 + 40
    assert {t.data_ptr() for name, t in second.items() if name != "new"} <= places
    assert not differences(second, state)


def test_what_is_a_copy_already_is_not_copied_again():
    copies = HostCopies(HostMemory())
    weight = torch.randn(3)
    first = copies.tensor(weight.detach())
    tree = copies.tree({"state_dict": {"w": first}, "ema": {"w": weight}})
    assert tree["state_dict"]["w"] is first
    assert tree["ema"]["w"].data_ptr() == first.data_ptr()


def _tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in items for tensor in _tensors(item)]


def test_a_copy_from_a_device_is_page_locked_and_whole():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    state = {"a": torch.randn(1000, device="cuda"), "b": torch.randn(7, 5, device="cuda").t()}
    memory = HostMemory()
    for _ in range(2):
        copies = HostCopies(memory)
        expected = {name: tensor.cpu() for name, tensor in state.items()}
        found = copies.tree(state)
        for tensor in state.values():
            tensor.add_(1)
        copies.wait()
        assert all(tensor.is_pinned() for tensor in found.values())
        assert not differences(expected, found)
        memory.turn_over()


def _copy_a_shard():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (2,))
    whole = torch.arange(14.0).reshape(7, 2)
    sharded = distribute_tensor(whole, mesh, [Shard(0)])
    copied = host_copy({"w": sharded})["w"]
    sharded.to_local().fill_(-1)
    return copied.to_local().clone(), type(copied) is type(sharded), torch.equal(copied.full_tensor(), whole)


def test_of_a_sharded_tensor_each_rank_copies_its_part():
    (first, *same), (second, *also) = run_ranks(2, _copy_a_shard)
    assert [first.shape[0], second.shape[0]] == [4, 3]
    assert same == also == [True, True]


def _copy_what_is_gathered():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    sharded = distribute_tensor(torch.arange(14.0).reshape(7, 2), init_device_mesh("cpu", (2,)), [Shard(0)])
    memory = HostMemory()
    copies = HostCopies(memory)
    with dist.telling_of_gathered(copies.adopt):
        whole, buffer = dist.gathered(sharded), dist.gathered(torch.ones(3))
    copied = copies.tree({"w": whole, "buffer": buffer})
    return copied["w"] is whole, copied["buffer"] is buffer, memory.n_bytes


def test_a_tensor_that_was_gathered_for_the_copy_is_not_copied_again():
    assert run_ranks(2, _copy_what_is_gathered) == [(True, False, 12)] * 2

"""mmcv.parallel and mmcv.engine through the face; with the marker `mmcv1` the same on MMCV 1.7.2."""

from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.utils.data import DataLoader

from trainwright.testing.ranks import run_ranks


def test_data_containers(mmcv, is_peer):
    import mmcv.parallel

    container = mmcv.parallel.DataContainer(torch.zeros(2, 3), stack=True, padding_value=7, pad_dims=1)
    assert (container.stack, container.cpu_only, container.padding_value, container.pad_dims) == (True, False, 7, 1)
    assert container.size() == (2, 3)
    assert (container.size(0), container.dim(), len(container)) == (2, 2, 2)
    assert container.datatype == "torch.FloatTensor"
    assert repr(container) == f"DataContainer({torch.zeros(2, 3)!r})"
    other = mmcv.parallel.DataContainer(np.zeros(3), cpu_only=True)
    assert other.datatype is np.ndarray
    assert (other.stack, other.padding_value, other.pad_dims) == (False, 0, 2)
    with pytest.raises(AttributeError, match="DataContainer has no attribute size for type"):
        other.size()
    with pytest.raises(AssertionError, match="" if is_peer else "pad_dims must be None, 1, 2 or 3, got 4"):
        mmcv.parallel.DataContainer(1, pad_dims=4)


def test_collating(mmcv):
    from mmcv.parallel import DataContainer, collate

    samples = [
        {
            "img": DataContainer(torch.full((3, 2 + n, 4 - n), float(n)), stack=True, padding_value=9),
            "boxes": DataContainer(torch.zeros(n, 4)),
            "meta": DataContainer({"n": n}, cpu_only=True),
            "label": n,
            "pair": (torch.tensor([n]), float(n)),
        }
        for n in range(3)
    ]
    batch = collate(samples, samples_per_gpu=2)
    first, second = batch["img"].data
    assert (first.shape, second.shape) == ((2, 3, 3, 4), (1, 3, 4, 2))
    assert first[0, 0].tolist() == [[0] * 4, [0] * 4, [9] * 4]
    assert first[1, 0].tolist() == [[1, 1, 1, 9]] * 3
    assert (batch["img"].stack, batch["img"].padding_value, batch["img"].cpu_only) == (True, 9, False)
    assert [[len(boxes) for boxes in part] for part in batch["boxes"].data] == [[0, 1], [2]]
    assert batch["meta"].cpu_only
    assert batch["meta"].data == [[{"n": 0}, {"n": 1}], [{"n": 2}]]
    assert batch["label"].tolist() == [0, 1, 2]
    assert [part.tolist() for part in batch["pair"]] == [[[0], [1], [2]], [0, 1, 2]]
    plain = collate([DataContainer(torch.ones(2), stack=True, pad_dims=None)] * 2, 2)
    assert plain.data[0].shape == (2, 2)


def test_what_cannot_be_collated(mmcv, is_peer):
    from mmcv.parallel import DataContainer, collate

    for samples in (
        [DataContainer(torch.ones(2), stack=True)],
        [DataContainer(torch.ones(1, 2, 2), stack=True), DataContainer(torch.ones(2, 2, 2), stack=True)],
        [DataContainer([1], stack=True)],
    ):
        with pytest.raises(AssertionError, match="" if is_peer else "cannot be stacked|stack=True is for tensors"):
            collate(samples, 2)
    with pytest.raises((TypeError, AttributeError)):
        collate(7)


def test_to_devices(mmcv):
    import mmcv.parallel
    from mmcv.parallel._functions import Scatter, get_input_device, scatter

    tensor = torch.zeros(1, 3)
    assert get_input_device(tensor) == get_input_device([tensor, [tensor]]) == -1
    assert scatter(tensor, [-1]) is tensor
    assert [part.shape for part in scatter([tensor, tensor.T], [-1])] == [(1, 3), (3, 1)]
    assert Scatter.forward([-1], tensor)[0] is tensor
    assert isinstance(Scatter.forward([-1], [tensor]), tuple)
    for call in (lambda: get_input_device(5), lambda: scatter(5, [-1])):
        with pytest.raises(Exception, match="Unknown type"):
            call()
    batch = {
        "x": tensor,
        "img": mmcv.parallel.DataContainer([tensor]),
        "meta": mmcv.parallel.DataContainer([[{"n": 0}]], cpu_only=True),
        "other": ["text", (), {}],
    }
    positional, named = mmcv.parallel.scatter_kwargs((batch, None), {"flag": True}, [-1])
    assert named == ({"flag": True},)
    (found, nothing) = positional[0]
    assert nothing is None
    assert found["img"] is tensor
    assert found["x"] is tensor
    assert found["meta"] == [{"n": 0}]
    assert found["other"] == ["text", (), {}]
    assert mmcv.parallel.scatter_kwargs((), {"a": 1}, [-1]) == (((),), ({"a": 1},))
    assert mmcv.parallel.scatter_kwargs((1,), {}, [-1]) == (((1,),), ({},))


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 1)

    def forward(self, x, **kwargs):
        return self.fc(x)

    def train_step(self, data, optimizer, **kwargs):
        loss = (self(data["x"]) - data["y"]).square().mean()
        return {"loss": loss, "log_vars": {"loss": loss.item()}, "num_samples": len(data["x"]), "more": kwargs}

    def val_step(self, data, optimizer=None, **kwargs):
        return {"prediction": self(data["x"]), "more": kwargs}


def wrapped_data(parallel, start=0.0):
    return {"x": parallel.DataContainer([torch.arange(4.0).view(2, 2) + start]), "y": torch.ones(2, 1)}


def test_one_device(mmcv):
    import mmcv.parallel as parallel

    model = Steps()
    with (
        mock.patch("torch.cuda.device_count", return_value=0),
        mock.patch("torch.cuda.is_available", return_value=False),
    ):
        wrapper = parallel.MMDataParallel(model, device_ids=None)
    data = wrapped_data(parallel)
    plain = {"x": data["x"].data[0], "y": data["y"]}
    assert torch.equal(wrapper(data["x"]), model(plain["x"]))
    assert torch.equal(wrapper(x=data["x"]), model(plain["x"]))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    outputs = wrapper.train_step(data, optimizer, extra=1)
    assert torch.equal(outputs["loss"], model.train_step(plain, optimizer)["loss"])
    assert (outputs["num_samples"], outputs["more"]) == (2, {"extra": 1})
    assert torch.equal(wrapper.val_step(data, optimizer)["prediction"], model(plain["x"]))


def test_what_wraps_a_model(mmcv):
    import mmcv.parallel as parallel
    from mmcv.parallel.distributed_deprecated import MMDistributedDataParallel as Deprecated

    model = Steps()
    wraps = parallel.is_module_wrapper
    assert not wraps(model)
    assert wraps(DataParallel(model))
    assert wraps(parallel.MMDataParallel(model))
    assert issubclass(parallel.MMDistributedDataParallel, DistributedDataParallel)
    with mock.patch("torch.distributed.broadcast"), mock.patch("torch.distributed._broadcast_coalesced"):
        assert wraps(Deprecated(model))
    with mock.patch.dict(parallel.MODULE_WRAPPERS.module_dict), mock.patch.dict(parallel.MODULE_WRAPPERS.children):
        below = mmcv.Registry("wrappers below", parent=parallel.MODULE_WRAPPERS, scope="below")

        @below.register_module()
        class Own(nn.Module):
            pass

        assert wraps(Own())
    assert not wraps(Own())


def steps_of_a_rank(kind):
    """Gradients and loss of a step of this rank, and what DDP of torch alone gives."""
    import trainwright.compat.mmcv1.parallel as parallel

    rank = torch.distributed.get_rank()
    found = []
    for wrap in (kind, DistributedDataParallel):
        torch.manual_seed(3)
        model = Steps()
        model.unused = nn.Linear(1, 1)
        wrapper = wrap(model, find_unused_parameters=True)
        for step in range(2):
            model.zero_grad()
            data = wrapped_data(parallel, start=float(rank + step))
            if wrap is kind:
                outputs = wrapper.train_step(data, None)
                loss = outputs["loss"]
                with torch.no_grad():
                    assert torch.equal(wrapper.val_step(data)["prediction"], wrapper(data["x"]))
            else:
                loss = (wrapper(data["x"].data[0]) - data["y"]).square().mean()
            loss.backward()
        found.append((model.fc.weight.grad.tolist(), loss.item()))
    return found


def test_several_ranks_average_what_train_step_gives():
    from trainwright.compat.mmcv1.parallel import MMDistributedDataParallel

    ranks = run_ranks(2, steps_of_a_rank, MMDistributedDataParallel)
    for ours, plain in ranks:
        assert ours == plain
    assert ranks[0][0][0] == ranks[1][0][0]
    assert ranks[0][0][1] != ranks[1][0][1]


def broadcast_of_a_rank():
    from trainwright.compat.mmcv1.parallel import DataContainer
    from trainwright.compat.mmcv1.parallel.distributed_deprecated import MMDistributedDataParallel

    torch.manual_seed(torch.distributed.get_rank())
    wrapper = MMDistributedDataParallel(Steps())
    x = torch.ones(1, 2)
    assert torch.equal(wrapper(DataContainer([x])), wrapper.module(x))
    assert torch.equal(wrapper.val_step({"x": x})["prediction"], wrapper.module(x))
    assert wrapper.train_step({"x": x, "y": x}, None)["num_samples"] == 1
    return wrapper.module.fc.weight.tolist()


def test_the_deprecated_wrapper_gives_all_ranks_the_weights_of_rank_0():
    first, second = run_ranks(2, broadcast_of_a_rank)
    assert first == second


class Numbers(nn.Module):
    def forward(self, x, return_loss=True):
        assert not return_loss
        assert not self.training
        assert not torch.is_grad_enabled()
        return [int(value) for value in x]


def loader(numbers, size):
    return DataLoader([{"x": number} for number in numbers], batch_size=size)


def test_predictions_of_one_process(mmcv, is_peer, capsys):
    from mmcv.engine import single_gpu_test

    assert single_gpu_test(Numbers(), loader(range(5), 2)) == [0, 1, 2, 3, 4]
    assert is_peer or "5/5" in capsys.readouterr().out  # MMCV writes to the stdout of when it was imported


class Share(DataLoader):
    """The batches of one rank; its dataset is that of all."""

    def __iter__(self):
        rank = torch.distributed.get_rank()
        for numbers in ([rank, rank + 2], [(rank + 4) % 5]):  # the last one of rank 1 makes the ranks even
            yield {"x": torch.tensor(numbers)}


def predictions_of_a_rank(gpu_collect):
    from trainwright.compat.mmcv1.engine import multi_gpu_test

    return multi_gpu_test(Numbers(), Share([0] * 5), tmpdir="unused", gpu_collect=gpu_collect)


@pytest.mark.parametrize("gpu_collect", [False, True])
def test_predictions_of_several_ranks_are_in_the_order_of_the_dataset(gpu_collect):
    assert run_ranks(2, predictions_of_a_rank, gpu_collect) == [[0, 1, 2, 3, 4], None]

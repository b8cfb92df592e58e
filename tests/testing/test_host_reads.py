import pytest
import torch

from trainwright.testing.host_reads import count_host_reads


@pytest.mark.parametrize(
    "read",
    [
        lambda t: t.item(),
        lambda t: t.tolist(),
        lambda t: t.cpu(),
        lambda t: t.numpy(),
        bool,
        float,
        int,
        complex,
        lambda t: [10, 20][t],
        lambda t: f"{t:.3f}",
        lambda t: torch.equal(t, t),
        torch.is_nonzero,
        lambda t: torch.allclose(t, t),
    ],
)
def test_each_way_to_read_counts_once(read):
    tensor = torch.tensor(1)
    with count_host_reads() as reads:
        read(tensor)
    assert reads.total == 1, reads.report()
    assert __file__ in reads.report()


def test_a_training_step_of_plain_torch_reads_nothing():
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with count_host_reads() as reads:
        loss = model(torch.ones(3, 4)).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert reads.total == 0, reads.report()
    assert reads.report() == "no reads"


def test_copies_from_a_device_count():
    with count_host_reads() as reads:
        torch.empty(2, device="meta").new_zeros(2, device="cpu")  # a new tensor, no copy
        torch.zeros(2).to(torch.float64)
    assert reads.total == 0, reads.report()


def test_tensor_is_left_as_it_was():
    before = dict(torch.Tensor.__dict__)
    with pytest.raises(RuntimeError, match="inside"), count_host_reads():
        raise RuntimeError("inside")
    assert dict(torch.Tensor.__dict__) == before

"""History buffers and the message hub."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("mmengine")


@pytest.fixture
def hubs():
    """The class, with a table of instances of its own."""
    from mmengine.logging import MessageHub

    before = MessageHub._instance_dict
    MessageHub._instance_dict = OrderedDict()
    yield MessageHub
    MessageHub._instance_dict = before


def test_a_new_history():
    from mmengine.logging import HistoryBuffer

    empty = HistoryBuffer()
    assert empty.max_length == 1_000_000
    assert len(empty._log_history) == len(empty._count_history) == 0
    histories = HistoryBuffer([1, 2, 3], [1, 2, 3])
    assert [part.tolist() for part in histories.data] == [[1, 2, 3], [1, 2, 3]]
    with pytest.warns(UserWarning, match="."):
        shorter = HistoryBuffer([1, 2, 3], [1, 2, 3], max_length=2)
    assert [part.tolist() for part in shorter.data] == [[2, 3], [2, 3]]
    with pytest.raises(AssertionError):
        HistoryBuffer([1, 2], [1])


@pytest.mark.parametrize("values", [np.arange(5.0), [1.0, 2.0], (3.0,)])
def test_histories_of_any_sequence(values):
    from mmengine.logging import HistoryBuffer

    counts = [1] * len(values)
    data, n = HistoryBuffer(values, counts).data
    assert data.tolist() == list(values)
    assert n.tolist() == counts


def test_update():
    from mmengine.logging import HistoryBuffer

    buffer = HistoryBuffer()
    for value in (torch.tensor(1.0).item(), 2, float(np.float32(3))):
        buffer.update(value)
    assert buffer.data[0].tolist() == [1, 2, 3]
    assert buffer.data[1].tolist() == [1, 1, 1]
    short = HistoryBuffer([1, 2], [1, 1], max_length=2)
    short.update(5, 3)
    assert [part.tolist() for part in short.data] == [[2, 5], [1, 3]]
    for wrong in (("1", 1), (torch.ones(2), 1), (1, "1"), (np.array([1, 2]), np.array([1, 2]))):
        with pytest.raises((AssertionError, TypeError)):
            buffer.update(*wrong)


@pytest.mark.parametrize(
    ("statistic", "window", "wanted"),
    [
        ("mean", None, 2.5),
        ("mean", 2, 3.5),
        ("min", None, 1),
        ("min", 2, 3),
        ("max", None, 4),
        ("max", 2, 4),
        ("mean", 40, 2.5),
        ("current", None, 4),
    ],
)
def test_statistics(statistic, window, wanted):
    from mmengine.logging import HistoryBuffer

    buffer = HistoryBuffer([1, 2, 3, 4], [1, 1, 1, 1])
    arguments = [] if statistic == "current" else [window]
    assert getattr(buffer, statistic)(*arguments) == wanted
    assert buffer.statistics(statistic, *arguments) == wanted


def test_means_are_weighted():
    from mmengine.logging import HistoryBuffer

    assert HistoryBuffer([1, 3], [1, 3]).mean() == (1 + 3) / (1 + 3)


def test_empty_histories_and_wrong_windows():
    from mmengine.logging import HistoryBuffer

    with pytest.raises(ValueError, match="."):
        HistoryBuffer().current()
    buffer = HistoryBuffer([1, 2], [1, 1])
    for statistic in ("mean", "min", "max"):
        with pytest.raises(AssertionError):
            getattr(buffer, statistic)("2")
    with pytest.raises(KeyError):
        buffer.statistics("unknown")


def test_registered_statistics():
    from mmengine.logging import HistoryBuffer

    @HistoryBuffer.register_statistics
    def spread_of_test(self, window_size=None, *args):
        values = self._log_history[-(window_size or len(self._log_history)) :]
        return values.max() - values.min()

    buffer = HistoryBuffer([5, 1, 2], [1, 1, 1])
    assert buffer.statistics("spread_of_test") == 4
    assert buffer.statistics("spread_of_test", 2) == 1
    assert buffer.statistics("spread_of_test", window_size=2) == 1
    if hasattr(HistoryBuffer, "_statistics_methods"):
        HistoryBuffer._statistics_methods.pop("spread_of_test")


def test_a_history_is_pickled():
    from mmengine.logging import HistoryBuffer

    twin = pickle.loads(pickle.dumps(HistoryBuffer([1, 2], [1, 1])))
    assert twin.data[0].tolist() == [1, 2]
    assert twin.mean() == 1.5
    assert copy.deepcopy(twin).current() == 2


def test_a_hub_is_found_by_its_name(hubs):
    hub = hubs("name")
    assert (hub.instance_name, len(hub.runtime_info), len(hub.log_scalars)) == ("name", 0, 0)
    with pytest.raises((AssertionError, TypeError)):
        hubs("name", log_scalars="wrong")
    with pytest.raises((AssertionError, TypeError)):
        hubs()
    assert hubs.get_current_instance().instance_name == "mmengine"
    hub = hubs.get_instance("other")
    assert hubs.get_instance("other") is hubs.get_current_instance() is hub


def test_scalars(hubs):
    hub = hubs.get_instance("scalars")
    hub.update_scalar("loss", 0.1)
    assert hub.log_scalars["loss"].current() == 0.1
    hub.update_scalar("loss", torch.tensor(0.5))
    hub.update_scalar("loss", np.array(0.25), 2)
    assert hub.get_scalar("loss").data[0].tolist() == pytest.approx([0.1, 0.5, 0.25])
    assert hub.get_scalar("loss").data[1].tolist() == [1, 1, 2]
    with pytest.raises((AssertionError, TypeError)):
        hub.update_scalar("loss", torch.ones(2))
    with pytest.raises((AssertionError, TypeError)):
        hub.update_scalar("loss", [1])
    with pytest.raises(AssertionError):
        hub.update_scalar("loss", 1.0, resumed=False)
    with pytest.raises(KeyError, match="unknown"):
        hub.get_scalar("unknown")
    hub.update_scalars({"acc": 0.5, "lr": {"value": 0.1, "count": 2}})
    assert hub.get_scalar("acc").current() == 0.5
    assert hub.get_scalar("lr").data[1].tolist() == [2]
    for wrong in ({"lr": []}, {"lr": {"count": 2}}):
        with pytest.raises(AssertionError):
            hub.update_scalars(wrong)
    with pytest.raises(AssertionError):
        hub.update_scalars([1])


def test_info(hubs):
    hub = hubs.get_instance("info")
    hub.update_info("key", 2)
    assert hub.get_info("key") == hub.runtime_info["key"] == 2
    hub.update_info("key", 1)
    assert hub.get_info("key") == 1
    assert hub.get_info("unknown") is None
    assert hub.get_info("unknown", 3) == 3
    with pytest.raises(AssertionError):
        hub.update_info("key", 1, resumed=False)
    hub.update_info_dict({"a": 1, "b": 2})
    assert (hub.pop_info("a"), hub.get_info("a")) == (1, None)
    with pytest.raises(AssertionError):
        hub.update_info_dict([1])
    value = hub.get_info("list") or hub.update_info("list", [1, 2]) or hub.get_info("list")
    assert value == [1, 2]


def test_a_hub_is_resumed(hubs):
    hub = hubs.get_instance("first")
    for key, value in (("loss", 0.1), ("lr", 0.2)):
        hub.update_scalar(key, value, resumed=key == "loss")
    hub.update_info("iter", 3, resumed=True)
    hub.update_info("feat", [1, 2], resumed=False)
    hub.update_info("tensor", torch.ones(2), resumed=True)
    state = hub.state_dict()
    assert "loss" in state["log_scalars"]
    assert [part.tolist() for part in state["log_scalars"]["loss"].data] == [[0.1], [1]]
    assert "lr" not in state["log_scalars"]
    assert "iter" in state["runtime_info"]
    assert "feat" not in state["runtime_info"]
    other = hubs.get_instance("second")
    other.load_state_dict(state)
    assert other.get_scalar("loss").current() == 0.1
    assert other.get_info("iter") == 3
    other.update_info("iter", 9)
    assert hub.get_info("iter") == 3
    again = hubs.get_instance("third")
    again.load_state_dict(other)
    assert again.get_info("iter") == 9


def test_what_is_no_history_is_left_out(hubs):
    from mmengine.logging import HistoryBuffer

    class Uncopied:
        def __deepcopy__(self, memo):
            raise NotImplementedError

    kept = Uncopied()
    hub = hubs.get_instance("other")
    hub.load_state_dict(
        {
            "log_scalars": {"a": 1, "b": HistoryBuffer()},
            "runtime_info": {"c": 1, "d": kept, "e": 1},
            "resumed_keys": {"a": True, "b": True, "c": True, "e": False, "f": True},
        }
    )
    assert set(hub.log_scalars) == {"b"}
    assert hub.runtime_info["d"] is kept
    assert hub._resumed_keys == {"b": True, "c": True, "e": False}
    hub.update_info("d", kept)
    assert hub.state_dict()["runtime_info"]["d"] is kept
    assert len(hub.state_dict()["log_scalars"]["b"].data[0]) == 0


def test_a_hub_is_copied_and_pickled(hubs):
    hub = hubs.get_instance("origin")
    hub.update_scalar("loss", 0.1)
    hub.update_info("iter", 1)
    for twin in (copy.deepcopy(hub), pickle.loads(pickle.dumps(hub))):
        assert twin.get_info("iter") == 1
        assert twin.get_scalar("loss").current() == 0.1

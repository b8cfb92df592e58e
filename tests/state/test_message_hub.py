import io
import logging

import numpy as np
import pytest
import torch

from trainwright.base.errors import TrainwrightError
from trainwright.base.logs import MMLogger
from trainwright.engine import HookTable
from trainwright.state import HistoryBuffer, MessageHub, RunContext
from trainwright.testing.host_reads import count_host_reads


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(MessageHub, "_instance_dict", {})
    return MessageHub("test")


def test_scalars_go_into_histories_without_a_read(hub):
    with count_host_reads() as reads:
        hub.update_scalar("train/loss", torch.tensor(2.0))
        hub.update_scalar("train/loss", torch.tensor(4.0), count=2)
        hub.update_scalars({"lr": 0.1, "val/acc": {"value": torch.tensor(0.5), "count": 8}, "n": {"value": 3}})
    assert reads.total == 0, reads.report()
    assert hub.get_scalar("train/loss").data[0].tolist() == [2.0, 4.0]
    assert hub.get_scalar("train/loss").mean() == 2.0
    assert hub.get_scalar("val/acc").data[1].tolist() == [8.0]
    assert set(hub.log_scalars) == {"train/loss", "lr", "val/acc", "n"}


def test_a_name_of_several_parts_keeps_its_order(hub):
    for n in range(4):
        hub.update_scalar("train/head/loss", n)
    assert hub.get_scalar("train/head/loss").data[0].tolist() == [0, 1, 2, 3]


def test_a_scalar_that_was_never_logged_names_those_that_were(hub):
    with pytest.raises(KeyError, match="'loss' was not logged; logged so far: nothing"):
        hub.get_scalar("loss")
    hub.update_scalar("train/loss", 1.0)
    with pytest.raises(KeyError, match="logged so far: train/loss"):
        hub.get_scalar("loss")


def test_a_dict_without_a_value_is_refused(hub):
    with pytest.raises(TrainwrightError, match=r"'acc'.*must have the key 'value'"):
        hub.update_scalars({"acc": {"count": 3}})


def test_infos_are_the_latest_of_anything(hub):
    hub.update_info("stage", "train")
    hub.update_info_dict({"stage": "val", "classes": ["a", "b"]})
    assert hub.get_info("stage") == "val"
    assert hub.get_info("nothing") is None
    assert hub.get_info("nothing", 3) == 3
    assert hub.pop_info("stage") == "val"
    assert hub.pop_info("stage", "gone") == "gone"
    assert hub.runtime_info == {"classes": ["a", "b"]}


def test_live_infos_are_asked_for_when_they_are_read(hub):
    seen = [0]
    hub.live["iter"] = lambda: seen[0]
    assert hub.get_info("iter") == 0
    seen[0] = 5
    assert hub.get_info("iter") == 5
    assert hub.runtime_info["iter"] == 5
    assert hub.state_dict()["runtime_info"] == {"iter": 5}
    hub.update_info("iter", 9)
    seen[0] = 6
    assert hub.get_info("iter") == 9


def test_pop_takes_a_live_info_away(hub):
    hub.live["eta"] = lambda: 1.5
    assert hub.pop_info("eta") == 1.5
    assert hub.get_info("eta") is None


def test_one_name_cannot_be_saved_and_not_saved(hub):
    hub.update_scalar("loss", 1.0, resumed=True)
    with pytest.raises(
        TrainwrightError, match=r"'loss' was logged with resumed=True before and now with resumed=False"
    ):
        hub.update_scalar("loss", 1.0, resumed=False)
    hub.update_info("secret", 1, resumed=False)
    with pytest.raises(TrainwrightError, match="'secret'"):
        hub.update_info("secret", 2)


def test_state_holds_what_is_plain_and_is_to_be_resumed(hub, capsys):
    MMLogger.get_instance("test_message_hub", log_level=logging.DEBUG)
    hub.update_scalar("loss", 1.0)
    hub.update_scalar("fleeting", 1.0, resumed=False)
    hub.update_info("config", {"a": (1, None)})
    hub.update_info("model", object())
    hub.update_info("once", 1, resumed=False)
    file = io.BytesIO()
    torch.save(hub.plain_state(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert set(state["log_scalars"]) == {"loss"}
    assert state["runtime_info"] == {"config": {"a": (1, None)}}
    assert state["resumed_keys"]["fleeting"] is False
    assert "['model']" in capsys.readouterr().err
    other = MessageHub("other")
    other.load_state_dict(state)
    assert other.get_scalar("loss").current() == 1.0
    assert other.get_info("config") == {"a": (1, None)}
    assert other.resumed_keys == {key: flag for key, flag in hub.resumed_keys.items() if key != "model"}
    assert "left out" not in capsys.readouterr().err  # what was not saved is not missed
    other.load_state_dict({**state, "resumed_keys": {"model": True}})
    logged = capsys.readouterr().err
    assert "left out when a message hub was loaded (neither a history nor an info): model" in logged


def test_named_hubs_are_found_again(hub):
    assert MessageHub.get_instance("x") is MessageHub.get_instance("x")
    assert MessageHub.get_instance("x").instance_name == "x"
    assert MessageHub.get_current_instance() is MessageHub.get_instance("x"), "outside any run the last one made counts"


def test_the_innermost_open_run_is_the_current_one_whichever_came_last(hub):
    first, last = (RunContext(name, HookTable(None)) for name in ("first", "last"))
    outside = MessageHub.get_current_instance()
    with last:
        assert MessageHub.get_current_instance() is last.hub
        with first:
            assert MessageHub.get_current_instance() is first.hub
        assert MessageHub.get_current_instance() is last.hub
    assert MessageHub.get_current_instance() is outside


def test_a_run_that_fails_is_closed_too(hub):
    with pytest.raises(ZeroDivisionError), RunContext("failing", HookTable(None)):
        raise ZeroDivisionError
    assert MessageHub.get_current_instance().name == "trainwright"


def test_a_hub_that_is_made_with_its_contents(hub):
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    made = MessageHub.get_instance(
        "filled", log_scalars={"loss": history}, runtime_info={"stage": "train"}, resumed_keys={"loss": False}
    )
    made.update_scalar("loss", 5.0, resumed=False)
    assert made.get_scalar("loss").data[0].tolist() == [1.0, 3.0, 5.0]
    assert made.get_info("stage") == "train"
    assert made.state_dict()["log_scalars"] == {}
    other = MessageHub("other")
    other.load_state_dict(MessageHub("source", runtime_info={"a": 1}))
    assert other.get_info("a") == 1


def test_whether_a_hub_is_there(hub):
    assert not MessageHub.check_instance_created("later")
    MessageHub.get_instance("later")
    assert MessageHub.check_instance_created("later")
    with RunContext("open", HookTable(None)):
        assert MessageHub.check_instance_created("open")
    assert not MessageHub.check_instance_created("open")


def test_arrays_and_counts_of_one_element(hub):
    hub.update_scalars({"a": {"value": np.array([[2.0]]), "count": torch.tensor(3)}})
    hub.update_scalars({"a": {"value": np.float32(4.0), "count": np.int64(1)}})
    assert [part.tolist() for part in hub.get_scalar("a").data] == [[2.0, 4.0], [3.0, 1.0]]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: MessageHub.get_instance(3), "name of a MessageHub must be a non-empty string, got 3"),
        (lambda: MessageHub(""), "name of a MessageHub must be a non-empty string, got ''"),
        (lambda: MessageHub("x", log_scalars=[1]), r"log_scalars must be a dict or None, but got \[1\]"),
        (lambda: MessageHub("x", log_scalars={"a": 1}), r"log_scalars\['a'\] must be a HistoryBuffer, but got 1"),
        (lambda: MessageHub("x", resumed_keys={"a": True}), "resumed_keys names 'a', which is no scalar and no info"),
        (lambda: MessageHub("x").update_scalar("a", 1.0, 0.5), "the count of 'a' must be a whole number, but got 0.5"),
        (lambda: MessageHub("x").update_scalars([1]), r"update_scalars takes a dict, but got \[1\] of type list"),
        (lambda: MessageHub("x").update_info_dict(3), "update_info_dict takes a dict, but got 3 of type int"),
        (
            lambda: MessageHub("x").load_state_dict({"a": 1, "runtime_info": {}}),
            "but log_scalars, resumed_keys not found among the keys given: a, runtime_info",
        ),
        (lambda: MessageHub("x").load_state_dict(3), "load_state_dict takes a dict, but got 3 of type int"),
    ],
)
def test_wrong_arguments(hub, call, text):
    with pytest.raises(TrainwrightError, match=text) as error:
        call()
    assert isinstance(error.value, (TypeError, AssertionError))


def test_a_live_info_that_is_not_known_yet_is_not_there():
    hub, values = MessageHub("live"), [None, 2.0, None]
    hub.live["eta"] = lambda: values.pop(0)
    assert "eta" not in hub.runtime_info
    assert hub.runtime_info["eta"] == 2.0
    assert "eta" not in hub.runtime_info

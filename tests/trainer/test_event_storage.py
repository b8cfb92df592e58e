"""The store of scalars, images and histograms, with and without a trainer around it."""

import math
import sys
import threading

import numpy as np
import pytest
import torch

from trainwright.base.errors import EventStorageError, TrainwrightError, UnknownMetricError
from trainwright.state import Clock, MetricStore
from trainwright.testing.host_reads import count_host_reads
from trainwright.trainer import (
    CallbackHook,
    EvalHook,
    EventStorage,
    HistoryBuffer,
    TrainerBase,
    get_event_storage,
    has_event_storage,
)


@pytest.fixture
def storage():
    with EventStorage() as opened:
        yield opened


def test_there_is_a_current_storage_only_while_one_is_open():
    assert not has_event_storage()
    with pytest.raises(EventStorageError, match="no event storage is open") as caught:
        get_event_storage()
    assert isinstance(caught.value, AssertionError)
    with EventStorage(3) as outer:
        assert has_event_storage()
        assert get_event_storage() is outer
        with EventStorage() as inner:
            assert get_event_storage() is inner
        assert get_event_storage() is outer
        assert outer.iter == outer.iteration == 3
    assert not has_event_storage()


def test_it_is_found_from_every_thread(storage):
    found = []
    thread = threading.Thread(target=lambda: found.append(get_event_storage()))
    thread.start()
    thread.join()
    assert found == [storage]


def test_an_error_inside_closes_it():
    with pytest.raises(RuntimeError, match="boom"), EventStorage():
        raise RuntimeError("boom")
    assert not has_event_storage()


def test_storages_close_in_reverse_order():
    outer, inner = EventStorage(), EventStorage()
    with outer:
        inner.__enter__()
        with pytest.raises(EventStorageError, match="reverse order"):
            outer.__exit__(None, None, None)
        inner.__exit__(None, None, None)


def test_scalars_are_kept_with_their_iterations(storage):
    for value in (1, 2.5, np.float32(4), torch.tensor(8)):
        storage.put_scalar("loss", value)
        storage.step()
    storage.put_scalar("loss", 16, cur_iter=10)
    assert storage.iter == 4
    assert storage.history("loss").values() == [(1.0, 0), (2.5, 1), (4.0, 2), (8.0, 3), (16.0, 10)]
    assert storage.latest() == {"loss": (16.0, 10)}
    assert all(type(value) is float for value, _ in storage.history("loss").values())


def test_values_stay_in_the_order_of_their_putting(storage):
    """As tensors and numbers, at earlier iterations, and when the store was folded in between."""
    storage.put_scalar("x", 1.0, cur_iter=5)
    storage.put_scalar("x", torch.tensor(2.0), cur_iter=3)
    storage._metrics.fold()
    storage.put_scalar("x", 3.0, cur_iter=1)
    assert storage.history("x").values() == [(1.0, 5), (2.0, 3), (3.0, 1)]


def test_put_scalars_puts_each(storage):
    storage.put_scalars(a=1.0, b=torch.tensor(2.0), smoothing_hint=False, cur_iter=7)
    assert storage.latest() == {"a": (1.0, 7), "b": (2.0, 7)}
    assert storage.smoothing_hints() == {"a": False, "b": False}


def test_one_name_is_smoothed_always_or_never(storage):
    storage.put_scalar("lr", 0.1, smoothing_hint=False)
    storage.put_scalar("lr", 0.1, smoothing_hint=np.bool_(False))
    with pytest.raises(EventStorageError, match="scalar lr was put with a different smoothing_hint") as caught:
        storage.put_scalar("lr", 0.2)
    assert isinstance(caught.value, AssertionError)
    assert len(storage.history("lr").values()) == 2


def test_smoothed_scalars_are_medians_over_a_window_of_iterations(storage):
    for k in range(20):
        storage.put_scalar("every", k)
        if k % 4 == 0:
            storage.put_scalar("fourth", k)
        storage.put_scalar("as_is", k, smoothing_hint=False)
        storage.step()
    assert storage.count_samples("every", 10) == 10
    assert storage.count_samples("fourth", 10) == 3
    assert storage.count_samples("every") == 20
    assert storage.latest_with_smoothing_hint(10) == {"every": (14.5, 19), "fourth": (12.0, 16), "as_is": (19.0, 19)}


def test_a_name_scope_goes_before_names_and_ends_after_an_error(storage):
    with storage.name_scope("box/"):
        storage.put_scalar("loss", 1)
        with storage.name_scope("other"):
            storage.put_scalar("loss", 2)
    with pytest.raises(RuntimeError, match="boom"), storage.name_scope("failed"):
        raise RuntimeError("boom")
    storage.put_scalar("loss", 3)
    assert storage.latest() == {"box/loss": (1.0, 0), "other/loss": (2.0, 0), "loss": (3.0, 0)}


def test_a_history_that_there_is_not_is_a_key_error(storage):
    storage.put_scalar("total_loss", 1)
    with pytest.raises(UnknownMetricError, match=r"no value of 'total_los'.*has total_loss.*[Dd]id you mean") as caught:
        storage.history("total_los")
    assert isinstance(caught.value, KeyError)
    with pytest.raises(KeyError, match="no value of 'none'"):
        EventStorage().count_samples("none")


def test_what_is_no_number_is_refused_when_it_is_put(storage):
    with pytest.raises(ValueError, match="could not convert"):
        storage.put_scalar("a", "text")
    with pytest.raises(TrainwrightError, match=r"metric b is a tensor of shape \(2,\)"):
        storage.put_scalar("b", torch.zeros(2))
    assert storage.latest() == {}


def test_tensors_are_read_together_when_somebody_asks(storage):
    weight = torch.tensor(2.0, requires_grad=True)
    buffer = torch.zeros(())
    with count_host_reads() as reads:
        for k in range(5):
            buffer.fill_(k)  # a producer that uses its output again
            storage.put_scalars(loss=weight * k, norm=buffer)
            storage.step()
    assert reads.total == 0
    assert storage.history("loss").values() == [(2.0 * k, k) for k in range(5)]
    assert [value for value, _ in storage.history("norm").values()] == [0, 1, 2, 3, 4]


def test_a_tensor_that_is_written_into_afterwards_keeps_the_value_it_had(storage):
    total = torch.zeros(())
    for _ in range(3):
        total += torch.ones((), requires_grad=True)
        storage.put_scalar("total", total)
        storage.step()
    assert storage.history("total").values() == [(1.0, 0), (2.0, 1), (3.0, 2)]


def test_outputs_of_a_model_are_put_as_they_are(storage):
    weight = torch.tensor(2.0, requires_grad=True)
    for value in (weight * 1, (weight * torch.ones(3))[1], weight * torch.ones(1), weight, weight.detach(), 2.0, 2):
        with count_host_reads() as reads:
            storage.put_output("loss", value)
        assert reads.total == 0
        storage.step()
    storage.put_output("loss", weight * 1, cur_iter=9)
    assert storage.history("loss").values() == [(2.0, k) for k in (*range(7), 9)]


def test_more_rows_than_a_fold_takes_keep_their_order(storage):
    for k in range(5000):
        storage.put_scalar("x", float(k))
        storage.step()
    assert storage.history("x").values() == [(float(k), k) for k in range(5000)]


def test_nothing_is_lost_that_one_thread_puts_while_another_reads(storage):
    def put():
        for k in range(20_000):
            storage.put_scalar("x", float(k), cur_iter=k)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = threading.Thread(target=put)
        thread.start()
        while thread.is_alive():
            storage.histories()
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert storage.history("x").values() == [(float(k), k) for k in range(20_000)]


def test_histories_come_in_the_order_of_first_putting(storage):
    for name in ("total_loss", "loss_b", "loss_a"):
        storage.put_scalar(name, 1)
    storage.histories()
    for name in ("loss_a", "total_loss", "loss_b"):
        storage.put_scalar(name, 2)
    assert list(storage.histories()) == list(storage.latest()) == ["total_loss", "loss_b", "loss_a"]
    storage.history("loss_a").update(5.0, 9)
    assert storage.latest()["loss_a"] == (5.0, 9)


def test_in_a_run_it_follows_the_clock_and_shows_what_others_put():
    clock = Clock()
    metrics = MetricStore(clock)
    metrics.put("", {"earlier": 1.0})
    storage = EventStorage(0, clock=clock, metrics=metrics)
    metrics.put("", {"loss": 2.0, "norm": 3.0})
    clock.tick()
    storage.put_scalar("loss", 4.0)
    storage.iter = 7  # holds until the run goes on
    storage.put_scalar("set", 1.0)
    assert (storage.iter, clock.iter) == (7, 1)
    clock.tick()
    assert storage.iter == 2
    storage.step()
    assert (storage.iter, clock.iter) == (3, 2)
    assert storage.history("loss").values() == [(2.0, 0), (4.0, 1)]
    assert storage.latest() == {"loss": (4.0, 1), "set": (1.0, 7), "norm": (3.0, 0)}


def test_it_follows_a_trainer_with_a_loop_of_its_own():
    class Looping(TrainerBase):
        def train(self, start_iter, max_iter):
            self.iter = self.start_iter = start_iter
            self.max_iter = max_iter
            with EventStorage(start_iter) as self.storage:
                self.before_train()
                for self.iter in range(start_iter, max_iter):
                    self.before_step()
                    self.run_step()
                    self.after_step()
                self.iter += 1
                self.after_train()

        def run_step(self):
            get_event_storage().put_scalar("loss", 1.0)

    trainer, seen = Looping(), []
    trainer.register_hooks(
        [
            EvalHook(2, lambda: {"metric": 5.0}),
            CallbackHook(after_train=lambda trainer: seen.append(trainer.storage.iter)),
        ]
    )
    trainer.train(3, 6)
    assert trainer.storage.history("loss").values() == [(1.0, 3), (1.0, 4), (1.0, 5)]
    assert trainer.storage.history("metric").values() == [(5.0, 3), (5.0, 6)]
    assert seen == [6]


def test_images_and_histograms_wait_for_their_writer(storage):
    storage.iter = 4
    storage.put_image("picture", "an image")
    assert storage._vis_data == [("picture", "an image", 4)]
    storage.clear_images()
    assert storage._vis_data == []
    values = torch.tensor([[0.0, 1.0, 1.5], [3.0, 3.5, 4.0]])
    with count_host_reads() as reads:
        storage.put_histogram("values", values, bins=4)
    assert reads.total == 0
    (found,) = storage._histograms
    assert found == {
        "tag": "values",
        "num": 6,
        "global_step": 4,
        "min": 0.0,
        "max": 4.0,
        "sum": 13.0,
        "sum_squares": pytest.approx(40.5),
        "bucket_limits": [1.0, 2.0, 3.0, 4.0],
        "bucket_counts": [1.0, 2.0, 0.0, 3.0],
    }
    storage.clear_histograms()
    assert storage._histograms == []


def test_a_restored_storage_goes_on_with_the_same_medians(storage):
    for k in range(12):
        storage.put_scalars(loss=float(k * k % 7), every=float(k))
        storage.put_scalar("lr", 0.1, smoothing_hint=False)
        storage.step()
    state = storage.state_dict()
    other = EventStorage(12)
    other.put_scalar("forgotten", 1.0)
    other.load_state_dict(state)
    for one in (storage, other):
        for k in range(12, 20):
            one.put_scalars(loss=float(k * k % 7), every=float(k))
            one.step()
    assert other.latest_with_smoothing_hint(15) == storage.latest_with_smoothing_hint(15)
    assert other.history("loss").values() == storage.history("loss").values()
    assert other.history("every").global_avg() == storage.history("every").global_avg()
    with pytest.raises(EventStorageError, match="smoothing_hint"):
        other.put_scalar("lr", 0.1)


def test_a_history_has_windowed_statistics():
    history = HistoryBuffer()
    assert history.global_avg() == 0.0
    for value in (4.0, 1.0, 3.0, 2.0):
        history.update(value)
    history.update(10.0, 20)
    assert history.values() == [(4.0, 0), (1.0, 1), (3.0, 2), (2.0, 3), (10.0, 20)]
    assert (history.latest(), history.median(3), history.avg(2), history.global_avg()) == (10.0, 3.0, 6.0, 4.0)
    assert (history.median(100), history.n_since(1), history.n_since(-1)) == (3.0, 3, 5)
    history.update(math.nan)
    assert math.isnan(history.latest())


def test_a_history_is_bounded_and_its_average_is_not():
    history = HistoryBuffer(max_length=3)
    for k in range(10):
        history.update(float(k))
    assert history.values() == [(7.0, 7), (8.0, 8), (9.0, 9)]
    assert len(history) == 3
    assert history.avg(50) == 8.0
    assert history.n_since(-1) == 3
    assert history.global_avg() == 4.5


def test_each_thread_has_the_storage_that_it_has_opened(storage):
    opened, go_on = threading.Event(), threading.Event()
    found = {}

    def elsewhere():
        found["outer"] = get_event_storage()
        with EventStorage() as own:
            opened.set()
            go_on.wait(10)
            found["own"] = get_event_storage() is own

    thread = threading.Thread(target=elsewhere)
    thread.start()
    opened.wait(10)
    assert get_event_storage() is storage
    with EventStorage() as inner:  # closed before the other thread's, which was opened earlier
        assert get_event_storage() is inner
    go_on.set()
    thread.join()
    assert found == {"outer": storage, "own": True}
    assert get_event_storage() is storage

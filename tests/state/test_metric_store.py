import io
import math

import numpy as np
import pytest
import torch

from trainwright.base.errors import NonFiniteLossError, TrainwrightError
from trainwright.state import Clock, MetricStore
from trainwright.testing.host_reads import count_host_reads

LOSSES = ("loss", "loss_cls", "loss_box")


def values_of(store, name):
    store.flush()
    return store.histories[name].data[0].tolist()


def put_each(store, clock, values, prefix="train", name="loss"):
    for value in values:
        store.put(prefix, {name: value})
        clock.tick()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return MetricStore(clock)


# reads ----------------------------------------------------------------------------------------------------------------


def training(store, clock, n_iters):
    weight = torch.ones(3, requires_grad=True)
    for n in range(n_iters):
        terms = {name: (weight * n).sum() * k for k, name in enumerate(LOSSES, 1)}
        store.put("train", {"lr": 0.1})
        store.put("train", terms)
        store.put("train", {"grad_norm": torch.tensor(1.0)})
        clock.tick()


def test_put_reads_nothing_and_a_flush_reads_once(store, clock):
    with count_host_reads() as reads:
        training(store, clock, 20)
    assert reads.total == 0, reads.report()
    with count_host_reads() as reads:
        store.flush()
    assert reads.total == 1, reads.report()
    assert values_of(store, "train/loss_box") == [9.0 * n for n in range(20)]
    assert values_of(store, "train/lr") == [0.1] * 20
    assert values_of(store, "train/grad_norm") == [1.0] * 20


def test_a_flush_without_tensors_reads_nothing(store, clock):
    put_each(store, clock, [1.0, 2, np.float32(3)])
    with count_host_reads() as reads:
        store.flush()
        store.flush()
    assert reads.total == 0, reads.report()
    assert values_of(store, "train/loss") == [1.0, 2.0, 3.0]


def test_folding_reads_nothing(clock):
    store = MetricStore(clock, fold_rows=4)
    with count_host_reads() as reads:
        training(store, clock, 30)
    assert reads.total == 0, reads.report()
    with count_host_reads() as reads:
        store.flush()
    assert reads.total == 1, reads.report()
    assert values_of(store, "train/loss") == [3.0 * n for n in range(30)]


# what is kept ---------------------------------------------------------------------------------------------------------


def test_values_go_into_histories_with_their_counts(store, clock):
    store.put("train", {"acc": torch.tensor(0.5)}, count=4)
    store.put("train", {"acc": torch.tensor(1.0)}, count=2)
    store.put("", {"bare": 3.0})
    store.flush()
    assert store.histories["train/acc"].data[1].tolist() == [4, 2]
    assert store.histories["train/acc"].mean() == 1.5 / 6
    assert values_of(store, "bare") == [3.0]


@pytest.mark.parametrize("fold_rows", [2, 3, 4096])
def test_the_order_is_that_of_iterations_whatever_names_come_together(clock, fold_rows):
    store = MetricStore(clock, fold_rows=fold_rows)
    for n in range(12):
        names = {"loss": float(n)} if n % 3 else {"loss": float(n), "extra": torch.tensor(float(n))}
        if n % 4 == 0:
            names = {"first": float(n), **names}
        store.put("train", names)
        clock.tick()
    assert values_of(store, "train/loss") == [float(n) for n in range(12)]
    assert values_of(store, "train/extra") == [0.0, 3.0, 6.0, 9.0]
    assert values_of(store, "train/first") == [0.0, 4.0, 8.0]


def test_the_order_within_one_iteration_is_that_of_putting(store):
    for n, others in enumerate([{}, {"b": 0.0}, {}, {"c": 0.0}, {"b": 0.0}]):
        store.put("train", {"loss": float(n), **others})
    assert values_of(store, "train/loss") == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_the_order_of_names_does_not_mix_their_values(store, clock):
    store.put("train", {"a": 1.0, "b": 2.0})
    clock.tick()
    store.put("train", {"b": 20.0, "a": 10.0})
    assert values_of(store, "train/a") == [1.0, 10.0]
    assert values_of(store, "train/b") == [2.0, 20.0]


def test_numbers_and_tensors_may_share_a_name(store, clock):
    put_each(store, clock, [1.0, torch.tensor(2.0), 3, torch.tensor([4.0]), np.float64(5), torch.tensor(6), True])
    assert values_of(store, "train/loss") == [1, 2, 3, 4, 5, 6, 1]


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor(1.5),
        torch.tensor([1.5]),
        torch.tensor([[1.5]]),
        torch.tensor(1.5, dtype=torch.bfloat16),
        torch.tensor(1.5, dtype=torch.float16),
        torch.tensor(1.5, dtype=torch.float64),
        torch.nn.Parameter(torch.tensor(1.5)),
        torch.nn.Parameter(torch.tensor([1.5])),
    ],
)
def test_any_one_element_tensor_will_do(store, clock, value):
    put_each(store, clock, [value, value])
    assert values_of(store, "train/loss") == [1.5, 1.5]


def test_wide_values_keep_their_digits(store):
    exact, big = 1 / 3, 2**40 + 1
    store.put("t", {"f64": torch.tensor(exact, dtype=torch.float64), "f32": torch.tensor(0.5)})
    store.put("t", {"i64": torch.tensor(big), "i32": torch.tensor(2**30 + 1, dtype=torch.int32)})
    store.flush()
    last = {name: history.current() for name, history in store.histories.items()}
    assert last == {"t/f64": exact, "t/f32": 0.5, "t/i64": big, "t/i32": 2**30 + 1}


def test_one_name_may_change_its_dtype(store, clock):
    wide = torch.tensor(1 / 3, dtype=torch.float64)
    put_each(store, clock, [torch.tensor(0.5, dtype=torch.bfloat16), wide, torch.tensor(7)])
    assert values_of(store, "train/loss") == [0.5, 1 / 3, 7.0]


def test_a_reused_buffer_does_not_change_what_was_put(store, clock):
    buffer = torch.zeros(())
    one_element, column = torch.zeros(1), torch.zeros(4)
    for n in range(3):
        buffer.fill_(n)
        one_element.fill_(10 * n)
        column[0] = 100 * n
        store.put("train", {"a": buffer, "b": one_element, "c": column[0]})
        clock.tick()
    buffer.fill_(-1)
    one_element.fill_(-1)
    column.fill_(-1)
    assert values_of(store, "train/a") == [0, 1, 2]
    assert values_of(store, "train/b") == [0, 10, 20]
    assert values_of(store, "train/c") == [0, 100, 200]


def test_a_leaf_that_an_optimizer_changes_is_copied(store, clock):
    scale = torch.nn.Parameter(torch.tensor(1.0))
    for _ in range(3):
        store.put("train", {"scale": scale})
        clock.tick()
        with torch.no_grad():
            scale.add_(1)
    assert values_of(store, "train/scale") == [1, 2, 3]


def test_no_graph_is_kept_alive(store):
    weight = torch.ones(2, requires_grad=True)
    store.put("train", {"loss": weight.sum(), "one": weight[:1]})
    kept = [value for rows in store._tables.values() for row in rows for value in row[2:]]
    assert [value.requires_grad for value in kept] == [False, False]
    assert all(value.grad_fn is None for value in kept)


# refusals -------------------------------------------------------------------------------------------------------------


def test_a_tensor_of_many_elements_is_refused_at_once(store):
    with pytest.raises(TrainwrightError, match=r"train/loss is a tensor of shape \(2, 3\).*\.mean\(\)"):
        store.put("train", {"loss": torch.zeros(2, 3)})
    with pytest.raises(TrainwrightError, match=r"shape \(0,\)"):
        store.put("train", {"loss": torch.zeros(0)})


@pytest.mark.parametrize("value", ["good", None, [1.0], {"a": 1}])
def test_what_is_no_number_is_refused_when_it_is_read(store, value):
    store.put("train", {"mood": value})
    with pytest.raises(TrainwrightError, match=r"train/mood is .*of type .*a logged metric is a number.*update_info"):
        store.flush()


# finite ---------------------------------------------------------------------------------------------------------------


def test_by_default_nothing_must_be_finite(store, clock):
    put_each(store, clock, [float("nan"), torch.tensor(float("inf"))])
    nan, inf = values_of(store, "train/loss")
    assert math.isnan(nan)
    assert inf == float("inf")


def test_the_error_names_the_earliest_iteration_its_terms_and_the_knob(store, clock):
    store.must_be_finite = lambda name: "loss" in name
    for n in range(8):
        bad = float("nan") if n >= 5 else 1.0
        worse = float("-inf") if n >= 5 else 1.0
        store.put("train", {"loss_b": torch.tensor(bad), "loss_a": worse, "fine_loss": 0.0, "grad": float("nan")})
        clock.tick()
    with pytest.raises(NonFiniteLossError) as caught:
        store.flush()
    message = str(caught.value)
    assert "not finite at iteration 5 (counted from 0)" in message
    assert "train/loss_b = nan" in message
    assert "train/loss_a = -inf" in message
    assert "fine_loss" not in message
    assert "train/grad" not in message
    assert "check_finite=False" in message
    assert "clip_grad" in message
    assert isinstance(caught.value, FloatingPointError)


def test_the_earliest_iteration_is_found_over_all_names_and_folds(clock):
    store = MetricStore(clock, fold_rows=3)
    store.must_be_finite = lambda name: True
    for n in range(10):
        store.put("t", {"late": torch.tensor(float("nan") if n == 8 else 0.0)})
        store.put("t", {"early": float("inf") if n == 4 else 0.0})
        clock.tick()
    with pytest.raises(NonFiniteLossError, match=r"iteration 4 .*: t/early = inf\."):
        store.flush()


def test_values_are_stored_before_the_error_and_it_comes_once(store, clock):
    store.must_be_finite = lambda name: True
    put_each(store, clock, [1.0, float("nan")])
    with pytest.raises(NonFiniteLossError):
        store.flush()
    assert store.histories["train/loss"].data[0][0] == 1.0
    store.flush()
    assert len(store.histories["train/loss"]) == 2


# memory ---------------------------------------------------------------------------------------------------------------


def n_waiting(store):
    return sum(chunk.n_rows for chunk in store._chunks) + sum(map(len, store._tables.values()))


def test_memory_stays_bounded_when_nobody_reads(clock):
    store = MetricStore(clock, max_length=50, fold_rows=10)
    for n in range(1000):
        store.put("t", {"loss": torch.tensor(float(n))})
        clock.tick()
        assert n_waiting(store) <= 50 + 3 * 10
    kept = values_of(store, "t/loss")
    assert kept == [float(n) for n in range(950, 1000)]  # the newest, none missing


def test_memory_stays_bounded_with_many_combinations_of_names(clock):
    store = MetricStore(clock, max_length=50, fold_rows=10)
    for n in range(2000):
        store.put("t", {"loss": float(n), f"task_{n % 7}": float(n)})
        clock.tick()
    assert n_waiting(store) <= 50 + 10 * 10
    assert values_of(store, "t/loss")[-1] == 1999.0


def test_rows_for_the_hot_path_are_the_same_list_for_good(store, clock):
    rows = store.rows("train", "time", "data_time")
    rows.append((0, 1, 0.5, 0.1))
    store.flush()
    assert rows == []
    rows.append((1, 1, 0.25, 0.2))
    assert values_of(store, "train/time") == [0.5, 0.25]
    assert store.rows("train", "time", "data_time") is rows
    store.put("train", {"time": 1.0, "data_time": 0.0})
    assert len(rows) == 1


def test_discard_drops_what_waits_and_keeps_histories(clock):
    store = MetricStore(clock, fold_rows=2)
    put_each(store, clock, [1.0])
    store.flush()
    put_each(store, clock, [2.0, 3.0, 4.0])
    store.discard()
    assert values_of(store, "train/loss") == [1.0]
    put_each(store, clock, [5.0])
    assert values_of(store, "train/loss") == [1.0, 5.0]


# state ----------------------------------------------------------------------------------------------------------------


def test_state_round_trip_through_a_safe_file(store, clock):
    training(store, clock, 5)
    store.put("train", {"acc": 0.5}, count=8)
    file = io.BytesIO()
    torch.save(store.state_dict(), file)  # flushes
    file.seek(0)
    other = MetricStore(Clock())
    other.put("train", {"stale": 1.0})
    other.load_state_dict(torch.load(file, weights_only=True))
    assert set(other.histories) == set(store.histories)
    for name in store.histories:
        assert values_of(other, name) == values_of(store, name)
    assert other.histories["train/acc"].mean() == 0.5 / 8
    other.put("train", {"acc": 1.0})
    assert values_of(other, "train/acc") == [0.5, 1.0]


# a watcher, and going back -------------------------------------------------------------------------------------------


def test_a_watcher_gets_what_a_flush_stores_with_its_iterations(store, clock):
    seen = []
    store.watcher = seen.append
    store.unkept.add("guard/norm")
    for value in (1.0, 2.0):
        store.put("train", {"loss": torch.tensor(value)})
        store.put("guard", {"norm": torch.tensor(-value)})
        clock.iter += 1
    store.flush()
    store.flush()  # nothing waits
    found = [{name: (list(iters), list(values)) for name, (iters, values) in one.items()} for one in seen]
    assert found == [{"train/loss": ([0, 1], [1.0, 2.0]), "guard/norm": ([0, 1], [-1.0, -2.0])}]
    assert set(store.histories) == {"train/loss"}
    assert set(store.state_dict()) == {"train/loss"}


def test_a_watcher_comes_before_the_check(store):
    class Found(BaseException):
        pass

    def watch(flushed):
        raise Found

    store.must_be_finite = lambda name: True
    store.watcher = watch
    store.put("train", {"loss": math.nan})
    with pytest.raises(Found):
        store.flush()
    assert len(store.histories["train/loss"]) == 1


def test_going_back(store, clock):
    put_each(store, clock, [1.0, 2.0])
    lengths = store.lengths()
    put_each(store, clock, [3.0])
    store.put("train", {"later": 1.0})
    store.flush()
    put_each(store, clock, [4.0])
    store.go_back(lengths)
    assert values_of(store, "train/loss") == [1.0, 2.0]
    assert set(store.histories) == {"train/loss"}
    put_each(store, clock, [5.0])
    assert values_of(store, "train/loss") == [1.0, 2.0, 5.0]

"""LossGuardHook: what it costs, which data and loops it can take back, several ranks."""

import pytest
import torch
from guard_runs import ITERS, LONG, LOOPS, Poison, assert_skips, guard_of, make, trained
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from trainwright.base.errors import ConfigError, ConfigTypeError, Interrupted, NonFiniteLossError
from trainwright.dist import get_rank
from trainwright.engine import EpochBasedTrainLoop, Event, Hook, IterBasedTrainLoop
from trainwright.engine.rewind import Rewind
from trainwright.hooks import LossGuardHook, loss_guard_hook
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.ranks import run_ranks
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import CLASSES, DIM, ToyDataset, ToyModel, differences, toy_loader

# -- what it costs ----------------------------------------------------------------------------------------------------


@LOOPS
@pytest.mark.parametrize("settings", [{}, {"spike_sigma": 5.0, "policy": "rollback"}, {"check_gradients": False}])
def test_nothing_changes_where_nothing_is_bad(tmp_path, train_cfg, settings):
    ema = {"type": "EMAHook"}
    wrapper = {"optimizer": {"type": "AdamW", "lr": 0.01}, "accumulative_counts": 2}
    plain = trained(tmp_path / "plain", ema, train_cfg=train_cfg, optim_wrapper=wrapper)[1]
    runner, found = trained(tmp_path / "guarded", ema, guard=settings, train_cfg=train_cfg, optim_wrapper=wrapper)
    assert not differences(plain, found)
    metrics = runner.ctx.metrics
    assert metrics.watcher is None
    assert metrics.must_be_finite is not None
    assert not [name for name in metrics.histories if name.startswith("guard")]
    assert "step" not in vars(runner.optim_wrapper)


def test_nothing_is_read_between_two_lines(tmp_path):
    more = []
    for guard in (None, {"snapshot_interval": 0, "spike_sigma": 10.0}):
        totals = []
        for n_iters in (20, 40):
            changes = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}
            changes["train_cfg"] = {**ITERS, "max_iters": n_iters}
            runner = make(tmp_path / f"{guard is None}{n_iters}", guard=guard, log=10, **changes)
            with count_host_reads() as reads:
                runner.train()
            totals.append(reads.total)
        more.append(totals[1] - totals[0])
    assert more[0] == more[1], reads.report()


def test_snapshots_are_spaced_by_what_they_cost(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loss_guard_hook, "perf_counter", lambda: now[0])

    class Time(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            now[0] += 1.0

    taken = []
    original = loss_guard_hook.Snapshot.take

    def take(runner):
        now[0] += 0.03125
        taken.append(runner.ctx.clock.as_completed().iter)
        return original(runner)

    monkeypatch.setattr(loss_guard_hook.Snapshot, "take", take)
    make(tmp_path, Time(), guard={}, log=1, train_cfg={**LONG, "max_iters": 16}).train()
    assert taken == [0, 4, 8, 12, 16]
    taken.clear()
    make(tmp_path / "n", Time(), guard={"snapshot_interval": 6}, log=1, train_cfg={**LONG, "max_iters": 16}).train()
    assert taken == [0, 6, 12]


def test_snapshots_share_nothing_with_the_training(tmp_path):
    class Look(Hook):
        priority = "LOWEST"
        n_seen = 0

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            snapshot = guard_of(runner)._newest
            trees = (snapshot.tree, snapshot.read(runner), {**runner.strategy.state_tree()})
            live = {t.data_ptr() for p in runner.model.parameters() for t in (p, p.grad) if t is not None}
            live |= {t.data_ptr() for t in runner.model.buffers()}
            for one in runner.optim_wrapper.optimizer.state.values():
                live |= {t.data_ptr() for t in one.values() if isinstance(t, torch.Tensor)}
            kept = set(pointers(trees[0]))
            assert not kept & live
            assert not kept & set(pointers(trees[1]))
            Look.n_seen += 1

    look = Look()
    wrapper = {"optimizer": {"type": "AdamW", "lr": 0.01}}
    runner = make(tmp_path, Poison(5), guard={"policy": "skip", "snapshot_interval": 2}, optim_wrapper=wrapper)
    runner.register_hook(look)
    runner.train()
    assert Look.n_seen > 12


def pointers(tree):
    if isinstance(tree, torch.Tensor):
        yield tree.data_ptr()
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from pointers(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from pointers(value)


# -- data -------------------------------------------------------------------------------------------------------------


class Counting(IterableDataset):
    def __iter__(self):
        for n in range(16):
            yield {"inputs": torch.full((DIM,), n / 8.0) + torch.randn(DIM), "label": n % CLASSES}


@LOOPS
@pytest.mark.parametrize("k", [2, 6, 9])
def test_an_iterable_dataset_is_read_again(tmp_path, train_cfg, k):
    loader = {"dataset": Counting(), "batch_size": 4, "collate_fn": {"type": "default_collate"}}
    assert_skips(tmp_path, [k], Poison(k), train_cfg=train_cfg, train_dataloader=loader)


class Loader:
    """Made anew for each run."""

    def __init__(self, **settings) -> None:
        self.settings = settings

    def __call__(self):
        settings = dict(self.settings)
        if settings.pop("seeded", False):
            settings["generator"] = torch.Generator().manual_seed(7)
        return DataLoader(ToyDataset(16, noise=0.3), batch_size=4, shuffle=True, **settings)


@LOOPS
@pytest.mark.parametrize(
    ("settings", "k"),
    [*(({}, k) for k in (0, 2, 6, 9)), *(({"seeded": True}, k) for k in (0, 2, 6, 9)), ({"num_workers": 1}, 6)],
)
def test_a_loader_of_the_users_own_is_read_again(tmp_path, train_cfg, k, settings):
    make_loader = Loader(**settings)
    runs = []
    for name, hooks, guard, leaves_out in (("plain", [], None, [k]), ("guarded", [Poison(k)], {"policy": "skip"}, [])):
        changes = {"train_dataloader": make_loader(), "train_cfg": train_cfg, "log": 100}
        runs.append(trained(tmp_path / name, *hooks, guard=guard, leaves_out=leaves_out, **changes)[1])
    assert not differences(*runs)


def test_the_infinite_sampler(tmp_path):
    loader = {**toy_loader(16, 4, noise=0.3), "sampler": {"type": "InfiniteSampler"}}
    assert_skips(tmp_path, [6], Poison(6), train_cfg=ITERS, train_dataloader=loader)


# -- what cannot go back ----------------------------------------------------------------------------------------------


class OwnRun(EpochBasedTrainLoop):
    def run(self):
        with self._training():
            while self.clock.epoch < self.max_epochs:
                self.run_epoch()
        return self.runner.model


class OwnEpoch(EpochBasedTrainLoop):
    def run_epoch(self):
        super().run_epoch()


class OwnIters(IterBasedTrainLoop):
    def run_iter(self, data_batch):
        super().run_iter(data_batch)


@pytest.mark.parametrize("loop", [OwnRun, OwnEpoch])
@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_loop_of_the_users_own_is_refused(tmp_path, loop, policy):
    runner = make(tmp_path, guard={"policy": policy}, train_cfg={"type": loop, "max_epochs": 2})
    with pytest.raises(ConfigError, match=rf"policy='{policy}' goes back.*{loop.__name__} orders.*policy='stop'"):
        runner.train()


def test_a_loop_of_the_users_own_is_stopped_where_it_is(tmp_path):
    runner = make(tmp_path, Poison(6), guard={}, train_cfg={"type": OwnRun, "max_epochs": 3})
    with pytest.raises(NonFiniteLossError, match=r"iteration 6 .*did not go back.*OwnRun.*nothing was saved"):
        runner.train()
    assert not (tmp_path / "bad_steps").exists()


def test_an_iteration_of_the_users_own_is_left_out_too(tmp_path):
    assert_skips(tmp_path, [6], Poison(6), train_cfg={"type": OwnIters, "max_iters": 12, "val_interval": 5})


class Once:
    """A loader that is its own iterator."""

    def __init__(self) -> None:
        self.batches = iter(DataLoader(ToyDataset(48), batch_size=4))

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.batches)


def test_data_that_can_be_read_once_are_refused(tmp_path):
    changes = {"train_dataloader": Once(), "train_cfg": ITERS}
    with pytest.raises(ConfigError, match=r"policy='skip' goes back.*come from a Once, which can be read only once"):
        make(tmp_path, guard={"policy": "skip"}, **changes).train()
    changes["train_dataloader"] = Once()
    with pytest.raises(NonFiniteLossError, match=r"iteration 4 .*did not go back.*Once"):
        make(tmp_path / "stop", Poison(4), guard={}, **changes).train()


def test_without_losses_in_the_metrics(tmp_path):
    with pytest.raises(ConfigError, match="LossGuardHook looks at the losses that RuntimeInfoHook puts down"):
        make(tmp_path, guard={}, default_hooks={"runtime_info": None}).train()


def test_two_guards(tmp_path):
    with pytest.raises(ConfigError, match="custom_hooks has more than one LossGuardHook"):
        make(tmp_path, {"type": "LossGuardHook"}, guard={}).train()


def test_what_waits_unread_at_an_error_stays_out_of_the_histories(tmp_path):
    class Fail(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 1:
                raise OSError("gone")

    runner = make(tmp_path, Fail(), guard={}, log=100)
    with pytest.raises(OSError, match="gone"):
        runner.train()
    assert not [name for name in runner.message_hub.log_scalars if name.startswith("guard")]


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"policy": "skp"}, ConfigError, "must be 'stop', 'skip' or 'rollback', but got 'skp'.*Did you mean 'skip'"),
        ({"spike_sigma": -1}, ConfigError, "spike_sigma must be a number of standard deviations above 0.*-1"),
        ({"spike_sigma": True}, ConfigError, "spike_sigma must be a number .*True"),
        ({"margin": 2}, ConfigError, "margin=2 has a meaning for policy='rollback' only"),
        ({"policy": "rollback", "margin": -1}, ConfigError, "margin must be at least 0"),
        ({"window": 5}, ConfigError, "window must be at least 20, but got 5"),
        ({"limit": -1}, ConfigError, "limit must be at least 0"),
        ({"limit": 1.5}, ConfigTypeError, "limit must be a whole number"),
        ({"snapshot_interval": -1}, ConfigError, "snapshot_interval must be at least 0"),
        ({"interval": 0}, ConfigError, "interval must be at least 1"),
    ],
)
def test_wrong_settings(settings, kind, text):
    with pytest.raises(kind, match=text):
        LossGuardHook(**settings)


def test_ctrl_c_in_a_spoilt_stretch_saves_a_good_state(tmp_path):
    stop = StopAt(Event.AFTER_TRAIN_ITER, 8)
    runner = make(tmp_path, Poison(6), stop, guard={"policy": "skip", "snapshot_interval": 1}, log=6, train_cfg=ITERS)
    with pytest.raises(Interrupted) as error:
        runner.train()
    saved = torch.load(error.value.checkpoint, weights_only=True)
    assert saved["meta"]["iter"] == 6
    assert all(torch.isfinite(w).all() for w in saved["state_dict"].values())
    expected = trained(tmp_path / "reference", leaves_out=[6], train_cfg=ITERS)[1]
    found = trained(tmp_path, Poison(6), guard={"policy": "skip"}, train_cfg=ITERS, resume=True)[1]
    assert not differences(expected, found)


def test_nobody_who_catches_errors_stops_it():
    assert not issubclass(Rewind, Exception)


def test_a_constant_loss_has_no_spikes(tmp_path):
    class Flat(ToyModel):
        def forward(self, inputs, label=None, mode="tensor"):
            found = super().forward(inputs, label, mode)
            return {"loss": found["loss"] * 0 + 1 + 1e-6 * F.relu(inputs).mean()} if mode == "loss" else found

    runner = make(tmp_path, guard={"spike_sigma": 3.0}, model=Flat(), train_cfg=LONG)
    runner.train()
    assert guard_of(runner).events == []


# -- several ranks ----------------------------------------------------------------------------------------------------


def of_rank(folder, gradient, policy, accumulate):
    rank = get_rank()
    torch.set_num_threads(1)
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": accumulate}
    poison = Poison(*([6] if rank == 1 else []), gradient=gradient)
    config = {"train_cfg": {**ITERS, "max_iters": 12}, "optim_wrapper": wrapper, "train_dataloader": toy_loader(32, 4)}
    runner = make(folder, poison, guard={"policy": policy}, **config)
    assert runner.world_size == 2
    try:
        runner.train()
    except NonFiniteLossError as error:
        return str(error).partition(" Training")[0]
    guard = guard_of(runner)
    fine = all(bool(torch.isfinite(w).all()) for w in runner.model.state_dict().values())
    return guard.skipped, [event["reason"] for event in guard.events], runner.iter, fine


@pytest.mark.parametrize(("gradient", "accumulate"), [(False, 1), (True, 1), (True, 4)])
def test_what_is_bad_on_one_rank_is_left_out_by_all(tmp_path, gradient, accumulate):
    here, there = run_ranks(2, of_rank, tmp_path, gradient, "skip", accumulate)
    reason = "grad_norm is nan" if gradient else "loss is nan"
    if gradient and accumulate > 1:
        assert here[0] == there[0] == {6}
    else:
        assert here == ({6}, [f"{reason} on rank 1"], 12, True)
        assert there == ({6}, [reason], 12, True)
    folders = {path.name for path in (tmp_path / "bad_steps").iterdir()}
    assert "iter_6" in folders
    assert here[2:] == there[2:] == (12, True)


def test_what_is_bad_on_one_rank_stops_all(tmp_path):
    here, there = run_ranks(2, of_rank, tmp_path, False, "stop", 1)
    assert here == "training was stopped at iteration 6 (counted from 0): loss is nan on rank 1."
    assert there.startswith("training was stopped at iteration 6 (counted from 0): loss is nan (loss = nan")
    assert {path.name for path in (tmp_path / "bad_steps").iterdir()} == {"iter_6", "iter_6_rank_1"}

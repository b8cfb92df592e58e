"""Going back in time inside a loop, and what is done at single iterations."""

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from trainwright.engine import EpochBasedTrainLoop, Event, Hook, IterBasedTrainLoop
from trainwright.engine.rewind import Detours, Rewind, begin_pass, put_states, run_with_rewinds, states_of
from trainwright.runner import Runner
from trainwright.state import Clock
from trainwright.testing.recorder import EventRecorder
from trainwright.testing.toys import differences, toy_config, toy_loader

EPOCHS = {"by_epoch": True, "max_epochs": 3}
ITERS = {"type": "IterBasedTrainLoop", "max_iters": 12, "val_interval": 5}
LOOPS = pytest.mark.parametrize("train_cfg", [EPOCHS, ITERS], ids=["epochs", "iters"])


def test_the_body_is_run_again_after_each_return():
    log = []

    def body():
        log.append("body")
        if log.count("body") < 3:
            raise Rewind(lambda: log.append("back"))

    run_with_rewinds(body)
    assert log == ["body", "back", "body", "back", "body"]


def test_other_errors_pass():
    def body():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_with_rewinds(body)


def test_what_holds_the_span_is_gone_when_the_state_is_put_back():
    class Batch:
        n_alive = 0

        def __init__(self):
            Batch.n_alive += 1

        def __del__(self):
            Batch.n_alive -= 1

    seen = []

    def body():
        if not seen:
            batch = Batch()  # noqa: F841 - of the frame
            raise Rewind(lambda: seen.append(Batch.n_alive))

    run_with_rewinds(body)
    assert seen == [0]


def test_detours_cost_nothing_where_there_are_none():
    clock, batches, detours = Clock(), iter("abc"), Detours()

    def use(index, batch):
        raise AssertionError

    assert detours.pulling(clock, batches) is batches
    assert detours.iterating(clock, use, use) is use
    clock.iter = 5
    assert Detours(skipped={4}).iterating(clock, use, use) is use  # they all lie behind


def test_the_order_at_an_iteration():
    clock, log = Clock(), []
    detours = Detours({2})
    detours.before_pull[1] = lambda: log.append("pull 1")
    detours.with_batch[1] = lambda index, batch: log.append(f"with {index}{batch}")
    detours.with_batch[2] = lambda index, batch: log.append(f"with {index}{batch}")
    iterate = detours.iterating(
        clock, lambda index, batch: log.append(f"use {batch}"), lambda index, batch: log.append(f"skip {batch}")
    )
    for index, batch in enumerate(detours.pulling(clock, iter("abcd"))):
        iterate(index, batch)
        clock.iter += 1
    assert log == ["use a", "pull 1", "with 1b", "use b", "with 2c", "skip c", "use d"]


def test_the_generators_of_a_loader():
    generator, own = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    data = TensorDataset(torch.arange(8.0))
    loader = DataLoader(data, sampler=RandomSampler(data, generator=own), generator=generator)
    before = states_of(loader)
    assert len(before) == 2
    order = [batch[0].item() for batch in loader]
    assert [batch[0].item() for batch in loader] != order
    put_states(loader, before)
    assert [batch[0].item() for batch in loader] == order
    assert states_of([1, 2]) == []
    assert begin_pass(loader, 2, 7).data_epoch == 2


class GoBack(Hook):
    """Takes the whole state at one moment, and goes back to it at another, once."""

    priority = "LOWEST"

    def __init__(self, keep: int, event: Event, nth: int) -> None:
        self.keep, self.event, self.left = keep, event, nth
        self.tree = None

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.keep and self.tree is None:
            import copy

            self.tree = copy.deepcopy(runner.training_tree())
        self.count(runner, Event.AFTER_TRAIN_ITER)

    def before_val(self, runner):
        self.count(runner, Event.BEFORE_VAL)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.count(runner, Event.AFTER_VAL_ITER)

    def after_train_epoch(self, runner):
        self.count(runner, Event.AFTER_TRAIN_EPOCH)

    def count(self, runner, event):
        if event is self.event:
            self.left -= 1
            if self.left == 0:
                raise Rewind(lambda: runner.go_back(self.tree))


def make(work_dir, *hooks, **changes):
    config = {"train_dataloader": toy_loader(16, 4, noise=0.3), "custom_hooks": list(hooks), **changes}
    return Runner.from_cfg(toy_config(work_dir, **config))


@LOOPS
@pytest.mark.parametrize("keep", [0, 3, 5])
@pytest.mark.parametrize(
    ("event", "nth"),
    [
        (Event.AFTER_TRAIN_ITER, 8),
        (Event.BEFORE_VAL, 2),
        (Event.AFTER_VAL_ITER, 4),
        (Event.AFTER_TRAIN_EPOCH, 1),
    ],
)
def test_a_run_that_goes_back_ends_as_one_that_does_not(tmp_path, train_cfg, keep, event, nth):
    plain = make(tmp_path / "plain", train_cfg=train_cfg)
    plain.train()
    recorder = EventRecorder()
    nth = 3 if event is Event.AFTER_TRAIN_EPOCH and train_cfg is EPOCHS else nth
    back = GoBack(keep, event, nth)
    runner = make(tmp_path / "back", back, recorder, train_cfg=train_cfg)
    runner.train()
    assert back.left <= 0
    assert not differences(plain.strategy.state_tree(), runner.strategy.state_tree())
    assert plain.ctx.clock.state_dict() == runner.ctx.clock.state_dict()
    for name, history in plain.message_hub.log_scalars.items():
        assert len(runner.message_hub.log_scalars[name]) == len(history)
    loss = "train/loss"
    assert runner.message_hub.log_scalars[loss].data[0].tolist() == plain.message_hub.log_scalars[loss].data[0].tolist()
    assert recorder.count(Event.BEFORE_TRAIN) == 1 == recorder.count(Event.TRAIN_CLOSED)
    assert recorder.count(Event.ON_EXCEPTION) == 0
    n_epochs = 3 if train_cfg is EPOCHS else 1
    assert recorder.count(Event.BEFORE_TRAIN_EPOCH) > n_epochs
    assert runner.ctx.open_phases == []


def test_hooks_say_whether_their_state_goes_back(tmp_path):
    class Counter(Hook):
        def __init__(self):
            self.n, self.told = 0, 0

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.n += 1

        def rewound(self, runner):
            self.told += 1

        def state_dict(self):
            return {"n": self.n}

        def load_state_dict(self, state):
            self.n = state["n"]

    class Stays(Counter):
        rewinds = False

    goes, stays = Counter(), Stays()
    make(tmp_path, goes, stays, GoBack(3, Event.AFTER_TRAIN_ITER, 7), train_cfg=EPOCHS).train()
    assert (goes.n, stays.n) == (12, 15)
    assert goes.told == stays.told == 1


def test_a_request_to_stop_is_taken_back_unless_it_interrupts(tmp_path):
    class Ask(Hook):
        priority = "VERY_HIGH"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 6 and not hasattr(self, "done"):
                self.done = True
                runner.ctx.stop.request("once")

    runner = make(tmp_path, Ask(), GoBack(3, Event.AFTER_TRAIN_ITER, 7), train_cfg=EPOCHS)
    runner.train()
    assert runner.iter == 12


@pytest.mark.parametrize("base", [EpochBasedTrainLoop, IterBasedTrainLoop])
def test_which_loops_go_back(base):
    class OwnIter(base):
        def run_iter(self, *args):
            pass

    class OwnRun(base):
        def run(self):
            pass

    assert base.goes_back()
    assert OwnIter.goes_back()
    assert not OwnRun.goes_back()

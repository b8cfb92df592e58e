import pytest
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.engine import EpochBasedTrainLoop, Event, Hook, IterBasedTrainLoop
from trainwright.state import Progress, StopAt
from trainwright.testing.recorder import StopAt as StopWhen


class Lengthless:
    """A loader that does not know its length."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


class Sampled(Lengthless):
    """A loader that is told its epochs."""

    def __init__(self, n):
        super().__init__(n)
        self.epochs = []

    def __len__(self):
        return self.n

    def set_epoch(self, epoch):
        self.epochs.append(epoch)


def completed(runner):
    return runner.ctx.clock.as_completed()


# counters -------------------------------------------------------------------------------------------------------------


def test_epochs_to_the_end(tiny):
    runner = tiny().train_epochs(range(3), max_epochs=2)
    assert runner.trained_on == [0, 1, 2, 0, 1, 2]
    assert completed(runner) == Progress(2, 6, 0)
    loop = runner.train_loop
    assert (loop.max_epochs, loop.max_iters, loop.epoch, loop.iter) == (2, 6, 2, 6)


def test_iterations_to_the_end_start_the_loader_again(tiny):
    loader = Sampled(3)
    runner = tiny().train_iters(loader, max_iters=8)
    assert runner.trained_on == [0, 1, 2, 0, 1, 2, 0, 1]
    assert loader.epochs == [0, 1, 2]
    assert completed(runner).iter == 8
    loop = runner.train_loop
    assert (loop.max_epochs, loop.max_iters, loop.iter) == (1, 8, 8)


def test_the_loader_is_told_its_epochs(tiny):
    loader = Sampled(2)
    tiny().train_epochs(loader, max_epochs=3)
    assert loader.epochs == [0, 1, 2]


def test_whole_floats_are_numbers_too(tiny):
    assert tiny().train_epochs([1], max_epochs=2.0).train_loop.max_epochs == 2


def test_batch_idx_counts_from_the_start_of_the_epoch_or_of_the_run(tiny):
    class Index(Hook):
        def __init__(self):
            self.seen = []

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            self.seen.append(batch_idx)

    by_epoch, by_iter = Index(), Index()
    tiny(by_epoch).train_epochs(range(3), max_epochs=2)
    tiny(by_iter).train_iters(range(3), max_iters=5, val_interval=2)
    assert by_epoch.seen == [0, 1, 2, 0, 1, 2]
    assert by_iter.seen == [0, 1, 2, 3, 4]


def test_the_model_is_in_training_mode_again_after_a_validation(tiny):
    for train in ("train_epochs", "train_iters"):
        runner = tiny().with_val(["v"])
        cfg = {"max_epochs": 2} if train == "train_epochs" else {"max_iters": 4, "val_interval": 2}
        getattr(runner, train)(range(2), **cfg)
        assert runner.model.steps == [("train", 0), ("train", 1), ("eval", "v")] * 2


# loaders without a length ---------------------------------------------------------------------------------------------


def test_epochs_over_a_loader_without_a_length(tiny):
    runner = tiny().train_epochs(Lengthless(3), max_epochs=2)
    assert runner.trained_on == [0, 1, 2] * 2
    assert (runner.max_iters, runner.ctx.clock.epoch_length) == (None, None)
    assert completed(runner) == Progress(2, 6, 0)


def test_iterations_over_a_loader_without_a_length(tiny):
    assert tiny().train_iters(Lengthless(3), max_iters=7).trained_on == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("loader", [[], Lengthless(0), iter([])])
def test_an_empty_loader_is_an_error(tiny, loader):
    with pytest.raises(ConfigError, match="train_dataloader has no batch.*drop_last=True"):
        tiny().train_epochs(loader, max_epochs=2)


@pytest.mark.parametrize("loader", [[], Lengthless(0), iter([])])
def test_an_empty_loader_is_an_error_for_iterations_too(tiny, loader):
    with pytest.raises(ConfigError, match="train_dataloader has no batch.*drop_last=True"):
        tiny().train_iters(loader, max_iters=2)


@pytest.mark.parametrize(("train", "cfg"), [("train_epochs", {"max_epochs": 2}), ("train_iters", {"max_iters": 5})])
def test_a_loader_that_can_be_read_once_says_so(tiny, train, cfg):
    runner = tiny()
    with pytest.raises(ConfigError, match="can be read only once"):
        getattr(runner, train)(iter([1, 2, 3]), **cfg)
    assert runner.trained_on == [1, 2, 3]


# settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("train", "unit"), [("train_epochs", "max_epochs"), ("train_iters", "max_iters")])
@pytest.mark.parametrize("value", [[3], None, 1.5, True, float("inf"), float("nan")])
def test_what_is_no_whole_number(tiny, train, unit, value):
    with pytest.raises(ConfigTypeError, match=rf"{unit} must be a whole number.*train_cfg=dict\({unit}="):
        getattr(tiny(), train)([1], **{unit: value})


@pytest.mark.parametrize(("train", "unit"), [("train_epochs", "max_epochs"), ("train_iters", "max_iters")])
@pytest.mark.parametrize("value", [0, -3])
def test_a_number_below_one(tiny, train, unit, value):
    with pytest.raises(ConfigError, match=f"{unit} must be at least 1, but got {value}"):
        getattr(tiny(), train)([1], **{unit: value})


def test_metainfo_goes_to_the_visualizer(tiny):
    loader = Lengthless(1)
    loader.dataset = type("Dataset", (), {"metainfo": {"classes": ("a",)}})()
    runner = tiny().train_iters(loader, max_iters=1)
    assert runner.visualizer.dataset_meta == {"classes": ("a",)}


# stopping -------------------------------------------------------------------------------------------------------------


class StopTraining(Hook):
    """What hooks of MMEngine do: set a flag of the loop."""

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.at:
            runner.train_loop.stop_training = True
            assert runner.train_loop.stop_training


def test_stop_training_ends_after_the_epoch_and_its_validation(tiny):
    runner = tiny(StopTraining(4)).with_val(["v"]).train_epochs(range(3), max_epochs=9)
    assert completed(runner) == Progress(2, 6, 0)
    assert runner.recorder.count(Event.AFTER_VAL) == 2
    assert runner.recorder.events[-2:] == [Event.AFTER_TRAIN, Event.TRAIN_CLOSED]


def test_stop_training_ends_after_the_iteration_when_those_are_counted(tiny):
    runner = tiny(StopTraining(4)).train_iters(range(3), max_iters=90)
    assert completed(runner).iter == 5
    assert runner.recorder.events[-3:] == [Event.AFTER_TRAIN_EPOCH, Event.AFTER_TRAIN, Event.TRAIN_CLOSED]


def test_stop_training_can_be_taken_back(tiny):
    class Wavering(StopTraining):
        def after_train_epoch(self, runner):
            runner.train_loop.stop_training = False

    assert completed(tiny(Wavering(0)).train_epochs(range(3), max_epochs=2)) == Progress(2, 6, 0)


def test_early_stopping_from_a_validation(tiny):
    class Early(Hook):
        def after_val_epoch(self, runner, metrics=None):
            runner.train_loop.stop_training = metrics["n"] == 2.0

    assert completed(tiny(Early()).with_val([1, 2]).train_epochs(range(3), max_epochs=9)) == Progress(1, 3, 0)
    runner = tiny(Early()).with_val([1, 2]).train_iters(range(3), max_iters=90, val_interval=4)
    assert completed(runner).iter == 4
    assert runner.ctx.clock.val_due is False


def test_an_interrupt_leaves_the_epoch_open(tiny):
    runner = tiny(StopWhen(Event.AFTER_TRAIN_ITER, 4)).with_val(["v"]).train_epochs(range(3), max_epochs=9)
    assert completed(runner) == Progress(1, 4, 1)
    assert runner.recorder.count(Event.AFTER_TRAIN_EPOCH) == 1
    assert runner.recorder.events[-2:] == [Event.AFTER_TRAIN, Event.TRAIN_CLOSED]


def test_an_interrupt_in_the_last_iteration_of_an_epoch_leaves_it_open_too(tiny):
    runner = tiny(StopWhen(Event.AFTER_TRAIN_ITER, 3)).with_val(["v"]).train_epochs(range(3), max_epochs=9)
    assert completed(runner) == Progress(0, 3, 3)
    assert runner.recorder.count(Event.BEFORE_VAL) == 0


def test_an_interrupt_between_iterations_leaves_the_only_epoch_open(tiny):
    runner = tiny(StopWhen(Event.AFTER_TRAIN_ITER, 4)).train_iters(range(3), max_iters=9)
    assert (completed(runner).epoch, completed(runner).iter) == (0, 4)
    assert runner.recorder.count(Event.AFTER_TRAIN_EPOCH) == 0


@pytest.mark.parametrize(("train", "cfg"), [("train_epochs", {"max_epochs": 9}), ("train_iters", {"max_iters": 90})])
def test_an_interrupt_waits_for_the_end_of_an_accumulation_window(tiny, train, cfg):
    """Windows of 4 iterations, passes of 6 batches, a validation in between: asked at 5, possible at 8 only."""
    runner = tiny(StopWhen(Event.AFTER_TRAIN_ITER, 5)).with_val(["v"])
    runner.ctx.stop.may_interrupt = lambda: runner.iter % 4 == 0
    extra = {"val_interval": 6} if train == "train_iters" else {}
    getattr(runner, train)(range(6), **cfg, **extra)
    assert completed(runner).iter == 8
    assert runner.recorder.count(Event.AFTER_VAL_EPOCH) == 1


def test_an_interrupt_in_a_validation_leaves_it_due(tiny):
    runner = tiny(StopWhen(Event.AFTER_VAL_ITER, 2)).with_val(range(5)).train_epochs(range(3), max_epochs=9)
    assert completed(runner) == Progress(1, 3, 0)
    assert runner.ctx.clock.val_due
    assert runner.recorder.count(Event.AFTER_VAL_EPOCH) == 0
    assert len([1 for mode, _ in runner.model.steps if mode == "eval"]) == 2


@pytest.mark.parametrize(
    ("train", "cfg"), [("train_epochs", {"max_epochs": 2}), ("train_iters", {"max_iters": 6, "val_interval": 3})]
)
def test_a_run_that_was_interrupted_in_a_validation_begins_with_it(tiny, train, cfg):
    runner = tiny().with_val(["v"])
    state = {"epoch": 1, "iter": 3, "val_due": True} if train == "train_epochs" else {"epoch": 0, "iter": 3}
    runner.ctx.clock.load_state_dict({**state, "val_due": True})
    getattr(runner, train)(range(3), **cfg)
    assert [mode for mode, _ in runner.model.steps] == ["eval", "train", "train", "train", "eval"]


def test_a_failed_validation_is_due_again(tiny):
    class Failing(Hook):
        def before_val_epoch(self, runner):
            raise OSError("no such file")

    runner = tiny(Failing()).with_val(["v"])
    with pytest.raises(OSError, match="no such file"):
        runner.train_epochs(range(3), max_epochs=2)
    assert runner.ctx.clock.val_due
    assert runner.recorder.events[-2:] == [Event.ON_EXCEPTION, Event.TRAIN_CLOSED]


def test_validation_does_not_change_the_random_streams_of_training(tiny):
    class Draw(Hook):
        def __init__(self):
            self.drawn = []

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.drawn.append(float(torch.rand(())))

        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            torch.rand(3)

    drawn = []
    for batches in (["v"], None):
        draw = Draw()
        runner = tiny(draw)
        if batches is not None:
            runner.with_val(batches)
        torch.manual_seed(0)
        runner.train_epochs(range(2), max_epochs=3)
        drawn.append(draw.drawn)
    assert drawn[0] == drawn[1]


# going on -------------------------------------------------------------------------------------------------------------


def test_an_epoch_is_taken_up_in_its_middle(tiny):
    runner = tiny()
    runner.ctx.clock.load_state_dict({"epoch": 1, "iter": 4, "inner_iter": 1})
    loop = runner.train_loop = EpochBasedTrainLoop(runner, list(range(3)), max_epochs=3)
    loop.batches_to_drop = 1
    loop.run()
    assert runner.trained_on == [1, 2, 0, 1, 2]
    assert completed(runner) == Progress(3, 9, 0)


def test_an_epoch_whose_batches_were_all_used_is_closed(tiny):
    runner = tiny()
    runner.ctx.clock.load_state_dict({"epoch": 0, "iter": 3, "inner_iter": 3})
    loop = runner.train_loop = EpochBasedTrainLoop(runner, list(range(3)), max_epochs=2)
    loop.batches_to_drop = 3
    loop.run()
    assert runner.trained_on == [0, 1, 2]
    assert runner.recorder.count(Event.AFTER_TRAIN_EPOCH) == 2


@pytest.mark.parametrize("done", [1, 3, 4, 7])
def test_iterations_are_taken_up_in_the_middle_of_a_pass(tiny, done):
    runner = tiny()
    runner.ctx.clock.load_state_dict({"epoch": 0, "iter": done})
    loop = runner.train_loop = IterBasedTrainLoop(runner, list(range(3)), max_iters=9)
    loop.batches_to_drop = done
    loop.run()
    assert runner.trained_on == [i % 3 for i in range(done, 9)]


def test_a_finished_run_has_nothing_to_do(tiny):
    for train, cfg in (("train_epochs", {"max_epochs": 2}), ("train_iters", {"max_iters": 6})):
        runner = tiny()
        runner.ctx.clock.load_state_dict({"epoch": 2, "iter": 6})
        getattr(runner, train)(range(3), **cfg)
        assert runner.trained_on == []


# loops of one's own ---------------------------------------------------------------------------------------------------


class OwnIteration(EpochBasedTrainLoop):
    def run_iter(self, idx, data_batch):
        runner = self.runner
        runner.call_hook("before_train_iter", batch_idx=idx, data_batch=data_batch)
        outputs = runner.model.step(data_batch, optim_wrapper=runner.optim_wrapper)
        runner.call_hook("after_train_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1


class OwnEpoch(EpochBasedTrainLoop):
    def run_epoch(self):
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for idx, data_batch in enumerate(self.dataloader):
            self.run_iter(idx, data_batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1


class OwnBoth(OwnEpoch, OwnIteration):
    pass


class OwnIterations(IterBasedTrainLoop):
    def run_iter(self, data_batch):
        runner = self.runner
        runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        outputs = runner.model.step(data_batch, optim_wrapper=runner.optim_wrapper)
        runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=outputs)
        self._iter += 1


class Saver(Hook):
    """Keeps what a checkpoint would hold."""

    def __init__(self):
        self.saved = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.saved.append(runner.ctx.clock.as_completed())

    def after_train_epoch(self, runner):
        self.saved.append(runner.ctx.clock.as_completed())


@pytest.mark.parametrize("cls", [OwnIteration, OwnEpoch, OwnBoth])
def test_overridden_methods_fire_and_count_the_same(tiny, cls):
    runs = []
    for loop in (EpochBasedTrainLoop, cls):
        saver = Saver()
        runner = tiny(saver).with_val(["v"]).train_epochs(range(3), cls=loop, max_epochs=3, val_interval=2)
        runs.append((runner.recorder.moments, runner.model.steps, saver.saved, completed(runner)))
    assert runs[0] == runs[1]


def test_an_overridden_run_iter_counts_the_same_by_iteration(tiny):
    runs = []
    for loop in (IterBasedTrainLoop, OwnIterations):
        saver = Saver()
        runner = tiny(saver).with_val(["v"]).train_iters(range(3), cls=loop, max_iters=8, val_interval=3)
        runs.append((runner.recorder.moments, runner.model.steps, saver.saved, completed(runner)))
    assert runs[0] == runs[1]


def test_a_subclass_may_extend_run_iter(tiny):
    class Extended(EpochBasedTrainLoop):
        def run_iter(self, idx, data_batch):
            super().run_iter(idx, data_batch + 100)

    class ExtendedIterations(IterBasedTrainLoop):
        def run_iter(self, data_batch):
            super().run_iter(data_batch + 100)

    assert tiny().train_epochs(range(2), cls=Extended, max_epochs=2).trained_on == [100, 101] * 2
    assert tiny().train_iters(range(2), cls=ExtendedIterations, max_iters=3).trained_on == [100, 101, 100]


def test_an_interrupt_ends_an_overridden_run_iter_at_its_boundary(tiny):
    runner = tiny(StopWhen(Event.AFTER_TRAIN_ITER, 4)).train_epochs(range(3), cls=OwnIteration, max_epochs=3)
    assert completed(runner) == Progress(1, 4, 1)


def test_a_stop_asked_for_at_the_epoch_ends_there(tiny):
    class Patience(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            runner.ctx.stop.request("patience", StopAt.EPOCH)

    assert completed(tiny(Patience()).train_epochs(range(3), max_epochs=3)) == Progress(1, 3, 0)

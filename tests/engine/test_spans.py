import pytest

from trainwright.engine import Event, Hook, Phase, SpanEnd, open_phase, run_iter, run_span
from trainwright.state import Completing, Progress, StopAt


@pytest.fixture
def runner(tiny):
    return tiny()


def collect(ctx, batches, used, **kwargs):
    return run_span(ctx, iter(batches), lambda index, batch: used.append((index, batch)), **kwargs)


# run_iter -------------------------------------------------------------------------------------------------------------


class Watch(Hook):
    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append(("before", batch_idx, data_batch, runner.iter, runner.ctx.clock.as_completed().iter))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(("after", batch_idx, data_batch, outputs, runner.iter, runner.ctx.clock.as_completed().iter))


def test_one_iteration(tiny):
    watch = Watch()
    runner = tiny(watch)
    run_iter(runner.ctx, Phase.TRAIN, lambda batch: batch * 2, 5, "ab")
    assert watch.seen == [("before", 5, "ab", 0, 0), ("after", 5, "ab", "abab", 0, 1)]
    assert runner.ctx.clock.as_completed() == Progress(0, 1, 1)
    assert runner.ctx.clock.completing is Completing.NOTHING


@pytest.mark.parametrize("phase", [Phase.VAL, Phase.TEST])
def test_only_training_advances_the_clock(runner, phase):
    run_iter(runner.ctx, phase, str, 0, 1)
    assert runner.recorder.events == [phase.before_iter, phase.after_iter]
    assert runner.ctx.clock.as_completed() == Progress(0, 0, 0)


def test_a_failing_step_completes_nothing(runner):
    def fail(batch):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_iter(runner.ctx, Phase.TRAIN, fail, 0, None)
    assert runner.recorder.events == [Event.BEFORE_TRAIN_ITER]
    assert runner.ctx.clock.as_completed() == Progress(0, 0, 0)


# run_span -------------------------------------------------------------------------------------------------------------


def test_all_batches(runner):
    used = []
    assert collect(runner.ctx, "abc", used) is SpanEnd.EXHAUSTED
    assert used == [(0, "a"), (1, "b"), (2, "c")]


def test_a_limit_pulls_no_batch_too_many(runner):
    used, batches = [], iter("abcd")
    assert run_span(runner.ctx, batches, lambda i, b: used.append((i, b)), limit=2, start=7) is SpanEnd.LIMIT
    assert used == [(7, "a"), (8, "b")]
    assert next(batches) == "c"


def test_a_limit_that_the_data_just_fills(runner):
    assert collect(runner.ctx, "ab", [], limit=2) is SpanEnd.LIMIT
    assert collect(runner.ctx, "ab", [], limit=3) is SpanEnd.EXHAUSTED
    assert collect(runner.ctx, "", [], limit=1) is SpanEnd.EXHAUSTED
    assert collect(runner.ctx, "ab", [], limit=0) is SpanEnd.LIMIT


def test_a_stop_is_seen_at_the_boundary_after_the_batch_was_used(runner):
    used, batches, stop = [], iter("abcd"), runner.ctx.stop

    def iterate(index, batch):
        if batch == "b":
            stop.request("enough")
        used.append(batch)

    assert run_span(runner.ctx, batches, iterate) is SpanEnd.STOP
    assert used == ["a", "b"]
    assert next(batches) == "c"


def test_a_stop_asked_for_while_a_batch_is_read_uses_that_batch(runner):
    def batches():
        yield "a"
        runner.ctx.stop.request("Ctrl-C", interrupts=True)
        yield "b"
        raise AssertionError("pulled after the stop")

    used = []
    assert collect(runner.ctx, batches(), used) is SpanEnd.STOP
    assert used == [(0, "a"), (1, "b")]


def test_a_stop_at_the_epoch_does_not_end_the_span(runner):
    runner.ctx.stop.request("patience", StopAt.EPOCH)
    assert collect(runner.ctx, "abc", []) is SpanEnd.EXHAUSTED


def test_the_last_batch_of_the_limit_tells_a_stop_from_a_limit(runner):
    def iterate(index, batch):
        runner.ctx.stop.request("enough")

    assert run_span(runner.ctx, iter("a"), iterate, limit=1) is SpanEnd.STOP


def test_the_time_of_the_pull_is_kept(runner, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("trainwright.engine.core.perf_counter", lambda: now[0])

    def batches():
        for seconds in (2.0, 5.0):
            now[0] += seconds
            yield seconds

    seen = []

    def iterate(index, batch):
        now[0] += 100
        seen.append(runner.ctx.data_time_s)

    run_span(runner.ctx, batches(), iterate)
    assert seen == [2.0, 5.0]


def test_an_error_of_the_loader_passes_through(runner):
    def batches():
        yield 1
        raise OSError("disk gone")

    used = []
    with pytest.raises(OSError, match="disk gone"):
        collect(runner.ctx, batches(), used)
    assert used == [(0, 1)]


# open_phase -----------------------------------------------------------------------------------------------------------


class OnError(Hook):
    def __init__(self):
        self.seen = []

    def on_exception(self, runner, phase, error):
        self.seen.append((phase, error))


def test_a_phase_that_succeeds(runner):
    with open_phase(runner.ctx, Phase.TRAIN):
        assert runner.ctx.open_phases == [Phase.TRAIN]
    assert runner.recorder.events == [Event.BEFORE_TRAIN, Event.AFTER_TRAIN, Event.TRAIN_CLOSED]
    assert runner.ctx.open_phases == []


def test_evaluation_has_no_closing_event(runner):
    with open_phase(runner.ctx, Phase.TEST):
        pass
    assert runner.recorder.events == [Event.BEFORE_TEST, Event.AFTER_TEST]


@pytest.mark.parametrize("phase", list(Phase))
def test_an_error_is_reported_once_and_raised_again(tiny, phase):
    on_error = OnError()
    runner, error = tiny(on_error), RuntimeError("boom")
    with pytest.raises(RuntimeError, match="boom") as caught, open_phase(runner.ctx, phase):
        raise error
    assert caught.value is error
    assert on_error.seen == [(phase.label, error)]
    closing = [Event.TRAIN_CLOSED] if phase is Phase.TRAIN else []
    assert runner.recorder.events == [phase.begin, Event.ON_EXCEPTION, *closing]
    assert runner.ctx.open_phases == []


def test_an_error_in_a_validation_is_reported_by_the_training_around_it(tiny):
    on_error = OnError()
    runner = tiny(on_error)
    with pytest.raises(KeyError), open_phase(runner.ctx, Phase.TRAIN), open_phase(runner.ctx, Phase.VAL):
        raise KeyError("x")
    assert [phase for phase, _ in on_error.seen] == ["train"]
    assert runner.recorder.events == [
        Event.BEFORE_TRAIN,
        Event.BEFORE_VAL,
        Event.ON_EXCEPTION,
        Event.TRAIN_CLOSED,
    ]


@pytest.mark.parametrize("point", ["before_train", "after_train"])
def test_an_error_of_a_hook_at_the_frame_is_reported_too(tiny, point):
    class Failing(Hook):
        pass

    def fail(self, runner):
        raise ZeroDivisionError

    setattr(Failing, point, fail)
    on_error = OnError()
    runner = tiny(Failing(), on_error)
    with pytest.raises(ZeroDivisionError), open_phase(runner.ctx, Phase.TRAIN):
        pass
    assert len(on_error.seen) == 1
    assert runner.recorder.events[-1] is Event.TRAIN_CLOSED


def test_a_keyboard_interrupt_closes_and_is_no_failure(tiny):
    on_error = OnError()
    runner = tiny(on_error)
    with pytest.raises(KeyboardInterrupt), open_phase(runner.ctx, Phase.TRAIN):
        raise KeyboardInterrupt
    assert on_error.seen == []
    assert runner.recorder.events == [Event.BEFORE_TRAIN, Event.TRAIN_CLOSED]
    assert runner.ctx.open_phases == []


def test_an_error_of_the_error_hook_keeps_the_first_as_its_context(tiny):
    class Worse(Hook):
        def on_exception(self, runner, phase, error):
            raise OSError("second")

    runner = tiny(Worse())
    with pytest.raises(OSError, match="second") as caught, open_phase(runner.ctx, Phase.TRAIN):
        raise KeyError("first")
    assert isinstance(caught.value.__context__, KeyError)
    assert runner.recorder.count(Event.TRAIN_CLOSED) == 1


# the end of a training ------------------------------------------------------------------------------------------------


class Closing(Hook):
    """Fails when training is closed, with that error."""

    def __init__(self, error=None):
        self.error, self.n_closed = error, 0

    def on_train_closed(self, runner):
        self.n_closed += 1
        if self.error is not None:
            raise self.error


def notes_of(error):
    return "\n".join([*map(str, error.args), *getattr(error, "__notes__", [])])


def test_every_hook_is_closed_whatever_others_do_there(tiny):
    hooks = [Closing(), Closing(OSError("first")), Closing(), Closing(KeyError("second")), Closing()]
    runner = tiny(*hooks)
    with pytest.raises(OSError, match="first") as caught, open_phase(runner.ctx, Phase.TRAIN):
        pass
    assert [hook.n_closed for hook in hooks] == [1] * 5
    assert runner.recorder.count(Event.TRAIN_CLOSED) == 1
    assert "a hook's on_train_closed failed as well: KeyError: 'second'" in notes_of(caught.value)


def test_an_error_of_training_is_not_hidden_by_those_of_closing(tiny):
    last = Closing()
    runner = tiny(Closing(OSError("closing")), last)
    with pytest.raises(RuntimeError, match="training") as caught, open_phase(runner.ctx, Phase.TRAIN):
        raise RuntimeError("training")
    assert "a hook's on_train_closed failed as well: OSError: closing" in notes_of(caught.value)
    assert last.n_closed == 1


def test_an_error_that_somebody_handles_around_a_training_is_not_that_of_it(tiny):
    runner = tiny(Closing(OSError("closing")))
    try:
        raise KeyError("before")
    except KeyError:
        with pytest.raises(OSError, match="closing"), open_phase(runner.ctx, Phase.TRAIN):
            pass

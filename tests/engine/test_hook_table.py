import pytest

from trainwright.base.errors import HookError
from trainwright.engine import Event, Hook, HookTable, Priority


@pytest.fixture
def table():
    return HookTable("host")


def make(name, priority="NORMAL", **methods):
    return type(name, (Hook,), {"priority": priority, **methods})()


def names(table):
    return [type(hook).__name__ for hook in table.hooks]


# order ----------------------------------------------------------------------------------------------------------------


def test_priority_orders_and_arrival_breaks_ties(table):
    for name, priority in [("A", "LOW"), ("B", 50), ("C", "HIGH"), ("D", "NORMAL"), ("E", Priority.HIGH), ("F", 70)]:
        table.add(make(name, priority))
    assert names(table) == ["C", "E", "B", "D", "A", "F"]


def test_the_argument_counts_more_than_the_hook_s_own(table):
    table.add(make("A", "LOW"))
    table.add(make("B", "LOWEST"), priority="VERY_HIGH")
    assert names(table) == ["B", "A"]
    assert [hook.priority for hook in table.hooks] == ["VERY_HIGH", "LOW"]  # as they were given
    assert type(table.hooks[0]).priority == "LOWEST"  # the class is left alone


def test_hooks_are_called_in_that_order(table):
    called = []
    for name, priority in [("A", 90), ("B", 10), ("C", 50)]:
        table.add(make(name, priority, before_run=lambda self, runner: called.append((type(self).__name__, runner))))
    table.fire(Event.BEFORE_RUN)
    assert called == [("B", "host"), ("C", "host"), ("A", "host")]


def test_the_first_error_ends_the_round(table):
    def fail(self, runner):
        raise ZeroDivisionError

    called = []
    table.add(make("A", before_run=fail))
    table.add(make("B", before_run=lambda self, runner: called.append(1)))
    with pytest.raises(ZeroDivisionError):
        table.fire(Event.BEFORE_RUN)
    assert called == []


# refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", [object(), Hook, None, "LoggerHook", {"type": "LoggerHook"}])
def test_what_is_no_hook_is_a_type_error(table, hook):
    with pytest.raises(TypeError, match="hook should be an instance of Hook, but got"):
        table.add(hook)
    assert table.hooks == []


def test_an_unknown_priority_is_refused_before_the_hook_is_in(table):
    with pytest.raises(HookError, match="Did you mean 'HIGHEST'"):
        table.add(make("A"), priority="HIGEST")
    assert table.hooks == []


def test_a_misspelt_hook_point_is_refused(table):
    with pytest.raises(HookError) as caught:
        table.add(make("MyHook", before_train_itr=lambda self, runner: None))
    message = str(caught.value)
    assert "MyHook.before_train_itr looks like a hook point" in message
    assert "Did you mean 'before_train_iter'" in message
    assert "extra_points = ('before_train_itr',)" in message
    assert table.hooks == []


def test_a_misspelt_hook_point_of_a_mixin_is_found_too(table):
    class Mixin:
        def after_epochs(self, runner):
            pass

    class Mixed(Mixin, Hook):
        pass

    with pytest.raises(HookError, match=r"Mixin\.after_epochs"):
        table.add(Mixed())


def test_extra_points_allows_events_of_one_s_own(table):
    called = []
    hook = make("Own", extra_points=("after_backward",), after_backward=lambda self, runner, loss: called.append(loss))
    table.add(hook)
    table.fire_named("after_backward", loss=3)
    assert called == [3]


@pytest.mark.parametrize("member", [True, "text", property(lambda self: 1)])
def test_what_is_no_method_may_have_any_name(table, member):
    table.add(make("A", after_warmup=member))


# who is called --------------------------------------------------------------------------------------------------------


def test_a_silent_hook_is_called_nowhere(table):
    table.add(make("Silent"))
    assert all(calls == () for calls in table.calls.values())


def test_only_overriding_hooks_are_called(table):
    table.add(make("A", after_train_iter=lambda self, runner, batch_idx, data_batch=None, outputs=None: None))
    assert [event for event, calls in table.calls.items() if calls] == [Event.AFTER_TRAIN_ITER]


@pytest.mark.parametrize(
    ("generic", "suffix", "values"),
    [
        ("_before_epoch", "before_{}_epoch", {}),
        ("_after_epoch", "after_{}_epoch", {}),
        ("_before_iter", "before_{}_iter", {"batch_idx": 3, "data_batch": "batch"}),
        ("_after_iter", "after_{}_iter", {"batch_idx": 3, "data_batch": "batch", "outputs": "out"}),
    ],
)
def test_a_generic_method_stands_for_three_events(table, generic, suffix, values):
    seen = []
    table.add(make("A", **{generic: lambda self, runner, **given: seen.append(given)}))
    points = [Event(suffix.format(mode)) for mode in ("train", "val", "test")]
    assert [event for event, calls in table.calls.items() if calls] == points
    for event in points:
        table.fire(event, *values.values(), *([{"acc": 1.0}] if event.parameters == ("metrics",) else []))
    assert seen == [{**values, "mode": mode} for mode in ("train", "val", "test")]


def test_a_subclass_inherits_the_overrides(table):
    class Parent(Hook):
        def before_val(self, runner):
            pass

    class Child(Parent):
        pass

    table.add(Child())
    assert len(table.calls[Event.BEFORE_VAL]) == 1


def test_an_attribute_of_the_instance_counts_as_an_override(table):
    hook, called = Hook(), []
    hook.after_run = called.append
    table.add(hook)
    table.fire(Event.AFTER_RUN)
    assert called == ["host"]


# by name or by position -----------------------------------------------------------------------------------------------


def seen_by(table, method):
    hook = make("A", after_train_iter=method)
    table.add(hook)
    table.fire(Event.AFTER_TRAIN_ITER, 3, "batch", "out")
    return hook.seen


def test_values_in_the_usual_order(table):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen = (runner, batch_idx, data_batch, outputs)

    assert seen_by(table, after_train_iter) == ("host", 3, "batch", "out")


def test_values_under_their_names_in_any_order(table):
    def after_train_iter(self, runner, outputs, data_batch=None, batch_idx=None):
        self.seen = (runner, batch_idx, data_batch, outputs)

    assert seen_by(table, after_train_iter) == ("host", 3, "batch", "out")


def test_values_for_keyword_only_parameters(table):
    def after_train_iter(self, runner, *, batch_idx, outputs, **rest):
        self.seen = (runner, batch_idx, rest["data_batch"], outputs)

    assert seen_by(table, after_train_iter) == ("host", 3, "batch", "out")


def test_values_for_a_method_that_takes_anything(table):
    def after_train_iter(self, *args, **kwargs):
        self.seen = (*args, *kwargs.values())

    assert seen_by(table, after_train_iter) == ("host", 3, "batch", "out")


def test_further_parameters_keep_their_defaults(table):
    def after_train_iter(self, trainer, batch_idx, data_batch=None, outputs=None, scale=7):
        self.seen = (trainer, batch_idx, data_batch, outputs, scale)

    assert seen_by(table, after_train_iter) == ("host", 3, "batch", "out", 7)


@pytest.mark.parametrize("event", list(Event))
def test_the_base_class_takes_the_parameters_of_every_event(table, event):
    calls = []

    class All(Hook):
        pass

    setattr(All, event.value, lambda self, runner, **values: calls.append(values))
    table.add(All())
    values = list(range(len(event.parameters)))
    table.fire(event, *values)
    assert calls == [dict(zip(event.parameters, values, strict=True))]
    getattr(Hook(), event.value)("host", **calls[0])  # the published signature


# by method name -------------------------------------------------------------------------------------------------------


def test_fire_named_calls_with_keywords_in_order(table):
    seen = []
    for name, priority in [("A", 90), ("B", 10)]:
        table.add(make(name, priority, after_val_epoch=lambda self, runner, metrics=None: seen.append(metrics)))
    table.add(make("Silent"))
    table.fire_named("after_val_epoch", metrics={"acc": 1})
    table.fire_named("after_val_epoch")
    assert seen == [{"acc": 1}, {"acc": 1}, None, None]


def test_fire_named_reaches_any_method_that_some_hooks_have(table):
    seen = []
    table.add(make("A"))
    table.add(make("B", switch=lambda self, runner, to: seen.append((runner, to))))
    table.fire_named("switch", to=3)
    table.fire_named("nobody_has_this")
    assert seen == [("host", 3)]


def test_a_hook_that_arrives_later_is_called_too(table):
    table.add(make("A"))
    table.fire(Event.BEFORE_RUN)
    called = []
    table.add(make("B", 0, before_run=lambda self, runner: called.append(1)))
    table.fire(Event.BEFORE_RUN)
    assert called == [1]

"""There is one loop body: `run_span`, which calls `run_iter`. Every loop of the package in which something steps is
listed here with the reason why it may; the doors add none."""

from pathlib import Path

import pytest
from loop_bodies import places_below, places_in

import trainwright

PACKAGE = Path(trainwright.__file__).parent
# place: (how many loops, what it is)
ALLOWED = {
    "engine/core.py::run_span": (1, "the loop body"),
    # These order spans; none pulls a batch.
    "engine/loops/epoch_based.py::EpochBasedTrainLoop._run_epochs": (1, "orders spans: one an epoch"),
    "engine/loops/iter_based.py::IterBasedTrainLoop._run_iters": (1, "orders spans: one to the next validation"),
    "engine/loops/evaluation.py::EvalLoop._run_sets": (1, "orders spans: one for each set"),
    "engine/loops/workflow.py::run_rounds": (2, "orders spans: the phases of a workflow, round after round"),
    "engine/loops/workflow.py::run_units": (1, "orders spans: the epochs of a phase"),
    # These step without events, on purpose, and are no training.
    "engine/loops/evaluation.py::ValLoop._check_sets": (2, "a try of validation before training, without events"),
    "runner/lr_finder.py::_losses": (2, "losses at rising rates, from a state that is put back; no events"),
    "runner/dry_run.py::_Trial._step": (1, "micro-batches of one step with tensors that have no memory"),
    "trainer/hooks/precise_bn.py::update_bn_stats": (
        1,
        "forwards for the statistics of BatchNorm; no loss, no step",
    ),
    "trainer/simple.py::SimpleTrainer._warm_up": (1, "the first backward of DDP, which is thrown away"),
    "compat/mmcv1/engine/test.py::_predictions": (1, "forwards of single_gpu_test, which has no run; no loss, no step"),
    "infer/infer.py::BaseInferencer.__call__": (1, "forwards of an inference, which has no run; no loss, no step"),
    "model/test_time_aug.py::BaseTTAModel.test_step": (1, "the views of one batch"),
    # These step no model: schedulers, optimizers, and machines of another kind.
    "hooks/param_scheduler_hook.py::ParamSchedulerHook.after_train_iter": (1, "steps schedulers"),
    "hooks/param_scheduler_hook.py::ParamSchedulerHook.after_train_epoch": (1, "steps schedulers"),
    "hooks/param_scheduler_hook.py::ParamSchedulerHook.after_val_epoch": (1, "steps schedulers"),
    "runner/schedule_plan.py::_curves": (3, "steps schedulers to draw them"),
    "runner/schedule_plan.py::_plan": (1, "draws schedulers"),
    "runner/dry_run.py::_Trial._step_without_forward": (1, "steps optimizers whose gradients are zeros"),
    "checkpoint/pickles.py::_Machine.run": (1, "instructions of a pickle"),
    "config/migration/migrate.py::_migrated": (1, "steps of a migration of configs"),
}
WHAT_TO_DO = """
Training and evaluation step in one loop body, run_span of engine/core.py, so that every door has its stop flag, its
clock, its timing and its events. Order spans instead, as the loops of engine/loops/ do:
run_span(ctx, batches, partial(run_iter, ctx, phase, step), limit). A loop that is found here and steps no model (it
steps schedulers, say) goes to ALLOWED, with the reason; so does a change of the number of loops in a place."""


def counted(places):
    """How many loops there are in each place."""
    found = {}
    for place in places:
        found[place.name] = found.get(place.name, 0) + 1
    return found


def complaints(found, allowed):
    """What is there and not allowed, or allowed and not there any more."""
    wrong = []
    for name in sorted({*found, *allowed}):
        there, may = found.get(name, 0), allowed.get(name, (0, ""))[0]
        if there != may:
            wrong.append(f"{name}: {there} loops that step, and {may} allowed")
    return wrong


def test_nothing_else_has_a_loop_body():
    places = [place for place in places_below(PACKAGE) if not place.file.startswith("testing/")]
    wrong = complaints(counted(places), ALLOWED)
    assert not wrong, "\n".join(wrong) + "\n" + WHAT_TO_DO


@pytest.mark.parametrize("door", ["runner", "trainer", "compat/mmcv1"])
def test_a_door_trains_by_the_loops_of_the_engine(door):
    """It reaches the one body; of the loops that step, those in a door are all of another kind."""
    sources = [path.read_text(encoding="utf-8") for path in sorted((PACKAGE / door).rglob("*.py"))]
    assert any("from trainwright.engine.loops" in source for source in sources)
    reasons = [reason for name, (_, reason) in ALLOWED.items() if name.startswith(f"{door}/")]
    assert [reason for reason in reasons if "body" in reason or "orders" in reason] == []


# The body of `def train(self, loader, model, optimizer)` of a class, but where it says `def` itself.
SAMPLES = {
    "a plain loop": "for batch in loader: self.model.train_step(batch)",
    "counted": "for self.iter in range(9): self.before_step(), self.run_step()",
    "while": "while self.iter < 9: run_iter(self.ctx, None, f, 0, next(loader))",
    "as a condition": "while self.run_step(): pass",
    "of spans": "for part in self.parts: run_span(self.ctx, iter(part), f)",
    "by hand": "for batch in loader: loss = model(batch); loss.backward(); optimizer.step()",
    "forward alone": "for batch in loader: self.model(batch)",
    "a comprehension": "return [self.train_step(batch) for batch in loader]",
    "a generator": "yield from (self.train_step(batch) for batch in loader)",
    "map in a loop": "for part in loader: list(map(self.train_step, part))",
    "in an if": "for batch in loader: print(step(batch) if batch else 0)",
    "a lambda inside": "for batch in loader: call(lambda: step(batch))",
    "behind methods": "for batch in loader: self.one(batch)",
    "in a function inside": "def body(): [step(batch) for batch in loader]",
}
CLASS = """
class Trainer:
    def one(self, batch):
        return self.two(batch)

    def two(self, batch):
        return self.inner.val_step(batch)

    def train(self, loader, model, optimizer):
        {}
"""


def in_class(body):
    return places_in(CLASS.format(body), "trainer/new.py")


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_loop_body_is_found(sample):
    (text,) = complaints(counted(in_class(SAMPLES[sample])), {})
    assert text.startswith("trainer/new.py::Trainer.train")
    assert text.endswith(": 1 loops that step, and 0 allowed")


@pytest.mark.parametrize(
    "body",
    [
        "for hook in self.hooks: hook.before_step()",
        "self.run_step(); [group.update(lr=0.1) for group in optimizer.param_groups]",
        "step(next(self.batches))",
        "for batch in batches_of(model.train_step(1)): pass",
    ],
)
def test_what_steps_in_no_loop_is_none(body):
    assert list(in_class(body)) == []


def test_a_second_loop_in_an_allowed_place_is_one_too_many():
    source = "def run_span():\n    while True:\n        iterate(0, 1)\n    while True:\n        iterate(0, 1)\n"
    found = counted(places_in(source, "engine/core.py"))
    allowed = {"engine/core.py::run_span": ALLOWED["engine/core.py::run_span"]}
    assert complaints(found, allowed) == ["engine/core.py::run_span: 2 loops that step, and 1 allowed"]


def test_a_place_that_is_gone_is_to_be_taken_out():
    assert complaints({}, {"engine/old.py::run": (1, "gone")}) == [
        "engine/old.py::run: 0 loops that step, and 1 allowed"
    ]

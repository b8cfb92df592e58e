"""A run in parts gives the same weights as one in one piece, bit for bit."""

import pytest
from resuming import BY_EPOCH, BY_ITER, CONVERTED, assert_same, config, resumed, run

from trainwright.checkpoint import read_file
from trainwright.engine import Event
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import differences, toy_loader

# On a machine of one core torch advises against two workers.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

SCHEDULERS = {"by_epoch": BY_EPOCH, "by_iter": BY_ITER, "converted": CONVERTED, "none": None}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("optimizer", "schedulers"), [("sgd", "by_epoch"), ("adamw", "by_iter")])
def test_two_epochs_then_five(tmp_path, workers, optimizer, schedulers):
    settings = {"workers": workers, "optimizer": optimizer, "param_scheduler": SCHEDULERS[schedulers]}
    straight = run(config(tmp_path / "one", **settings))
    run(config(tmp_path / "parts", epochs=2, **settings))
    assert_same(straight, resumed(config(tmp_path / "parts", **settings)))


@pytest.mark.parametrize(("optimizer", "schedulers"), [("adamw", "converted"), ("adamw", "by_epoch"), ("sgd", "none")])
def test_every_epoch_a_part(tmp_path, optimizer, schedulers):
    settings = {"optimizer": optimizer, "param_scheduler": SCHEDULERS[schedulers]}
    straight = run(config(tmp_path / "one", **settings))
    for epochs in range(1, 6):
        last = resumed(config(tmp_path / "parts", epochs=epochs, **settings))
    assert_same(straight, last)


def test_the_comparison_can_fail(tmp_path):
    """What the other tests rely on: another seed, or a fresh start, is seen."""
    one = run(config(tmp_path / "one", epochs=2))
    other = run(config(tmp_path / "other", epochs=2, randomness={"seed": 2}))
    found = differences(one.final, other.final)
    for part in ("['state_dict']", "['optimizer']", "['rng']", "['message_hub']", "['loader']"):
        assert any(place.startswith(part) for place in found), part


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Five epochs of five iterations in one piece."""
    return run(config(tmp_path_factory.mktemp("straight"), optimizer="adamw", param_scheduler=BY_ITER))


@pytest.mark.parametrize(
    ("event", "nth", "workers"),
    [
        (Event.AFTER_TRAIN_ITER, 1, 0),
        (Event.BEFORE_TRAIN_ITER, 8, 0),
        (Event.BEFORE_TRAIN_ITER, 8, 2),
        (Event.AFTER_TRAIN_ITER, 10, 0),  # the last batch of an epoch
        (Event.AFTER_TRAIN_ITER, 10, 2),
        (Event.AFTER_SAVE_CHECKPOINT, 2, 0),
        (Event.AFTER_TRAIN_EPOCH, 2, 0),  # a validation is due, and has not begun
        (Event.AFTER_VAL_ITER, 4, 0),  # inside the second validation
        (Event.AFTER_VAL_EPOCH, 2, 0),  # its metrics are known
        (Event.AFTER_VAL, 2, 0),
        (Event.AFTER_TRAIN_ITER, 25, 0),  # the last batch of all
        (Event.AFTER_VAL_ITER, 13, 0),  # inside the last validation
    ],
)
def test_interrupted_in_the_middle(tmp_path, straight, event, nth, workers):
    cfg = config(tmp_path, workers=workers, optimizer="adamw", param_scheduler=BY_ITER)
    run(cfg, StopAt(event, nth))
    assert_same(straight, resumed(cfg))


def test_interrupted_again_and_again(tmp_path, straight):
    cfg = config(tmp_path, optimizer="adamw", param_scheduler=BY_ITER)
    for event, nth in [
        (Event.AFTER_TRAIN_ITER, 3),
        (Event.AFTER_TRAIN_ITER, 1),
        (Event.AFTER_VAL_ITER, 2),
        (Event.AFTER_VAL_ITER, 1),
        (Event.AFTER_TRAIN_ITER, 9),
    ]:
        resumed(cfg, StopAt(event, nth))
    assert_same(straight, resumed(cfg))


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0)])
def test_the_number_of_workers_may_change(tmp_path, straight, before, after):
    settings = {"optimizer": "adamw", "param_scheduler": BY_ITER}
    run(config(tmp_path, workers=before, **settings), StopAt(Event.AFTER_TRAIN_ITER, 7))
    assert_same(straight, resumed(config(tmp_path, workers=after, **settings)))


@pytest.mark.parametrize("counts", [2, 3])
@pytest.mark.parametrize("nth", [1, 2, 3, 5, 8])
def test_an_interrupt_waits_for_the_end_of_an_accumulation_window(tmp_path, counts, nth):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, "accumulative_counts": counts}
    settings = {"epochs": 3, "optim_wrapper": wrapper, "param_scheduler": BY_ITER}
    one = run(config(tmp_path / "one", **settings))
    first = run(config(tmp_path / "parts", **settings), StopAt(Event.AFTER_TRAIN_ITER, nth))
    assert first.iter % counts == 0
    assert first.epoch == first.iter // 5
    assert nth <= first.iter < nth + counts
    assert_same(one, resumed(config(tmp_path / "parts", **settings)))


@pytest.mark.parametrize("counts", [2, 3, 7])
def test_an_epoch_that_ends_inside_an_accumulation_window(tmp_path, counts):
    """Five iterations an epoch: the gradients so far are in its checkpoint, and nothing else differs."""
    optimizer = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
    settings = {
        "optim_wrapper": {"optimizer": optimizer, "accumulative_counts": counts, "clip_grad": {"max_norm": 1.0}}
    }
    one = run(config(tmp_path / "one", epochs=3, **settings))
    first = str(tmp_path / "one" / "epoch_1.pth")
    assert "gradients" in read_file(first)
    assert "gradients" not in read_file(str(tmp_path / "one" / "epoch_3.pth"))
    again = run({**config(tmp_path / "again", epochs=3, **settings), "load_from": first, "resume": True})
    assert differences(one.final["state_dict"], again.final["state_dict"]) == []
    assert differences(one.final["optimizer"], again.final["optimizer"]) == []


@pytest.mark.parametrize("sampler", ["DefaultSampler", "InfiniteSampler"])
@pytest.mark.parametrize("workers", [0, 2])
def test_by_iteration_over_several_passes_of_the_data(tmp_path, sampler, workers):
    loader = toy_loader(18, 4, noise=0.3, num_workers=workers) | {"sampler": {"type": sampler, "shuffle": True}}
    settings = {
        "train_dataloader": loader,
        "param_scheduler": BY_ITER,
        "train_cfg": {"by_epoch": False, "max_iters": 23, "val_interval": 6},
        "default_hooks": {
            "logger": {"type": "LoggerHook", "interval": 2},
            "checkpoint": {"type": "CheckpointHook", "interval": 4, "by_epoch": False, "save_best": "auto"},
        },
    }
    one = run(config(tmp_path / "one", **settings))
    stops = [(Event.AFTER_TRAIN_ITER, 3), (Event.AFTER_TRAIN_ITER, 3), (Event.AFTER_VAL_ITER, 1)]
    stops += [(Event.AFTER_TRAIN_ITER, 5), (Event.BEFORE_TRAIN_ITER, 4)]
    for event, nth in stops[:: 1 if workers == 0 else 2]:
        resumed(config(tmp_path / "parts", **settings), StopAt(event, nth))
    assert_same(one, resumed(config(tmp_path / "parts", **settings)))


def test_by_iteration_to_a_later_end(tmp_path):
    def settings(max_iters):
        return {
            "param_scheduler": BY_ITER,
            "train_cfg": {"by_epoch": False, "max_iters": max_iters, "val_interval": 4},
            "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 4, "by_epoch": False}},
        }

    one = run(config(tmp_path / "one", **settings(16)))
    run(config(tmp_path / "parts", **settings(8)))
    assert_same(one, resumed(config(tmp_path / "parts", **settings(16))))


def test_from_a_best_checkpoint(tmp_path, straight):
    """It is written inside a validation that draws from the random streams, which training does not see."""
    cfg = config(tmp_path, optimizer="adamw", param_scheduler=BY_ITER)
    cfg["default_hooks"]["checkpoint"] |= {"max_keep_ckpts": -1, "interval": 100, "save_last": True}
    first = run({**cfg, "train_cfg": {"by_epoch": True, "max_epochs": 2}})
    best = first.message_hub.get_info("best_ckpt")
    assert best is not None
    second = run({**cfg, "resume": True, "load_from": best})
    assert_same(straight, second)


def test_mmengines_numbers_resume_between_epochs(tmp_path):
    settings = {"randomness": {"seed": 1, "keyed": False}}
    one = run(config(tmp_path / "one", **settings))
    run(config(tmp_path / "parts", epochs=2, **settings))
    assert_same(one, resumed(config(tmp_path / "parts", **settings)))

"""Every scheduler beside MMEngine's: the same arguments, 10,000 steps, the same values."""

import copy
import inspect
import random

import pytest
from schedule_cases import ARGUMENTS, arguments, assert_near, chain, make_optimizer, record, values_of

from trainwright import optim
from trainwright.optim import OptimWrapper

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]  # MMEngine's own warnings
mmengine_optim = pytest.importorskip("mmengine.optim")
mmengine_scheduler = pytest.importorskip("mmengine.optim.scheduler")

NAMES = [f"{row}{suffix}" for row in (*ARGUMENTS, "ReduceOnPlateau") for suffix in ("LR", "Momentum", "ParamScheduler")]
SHARED = [name for name in NAMES if name != "OneCycleMomentum"]  # MMEngine has 29 of the 30


def theirs(name):
    return getattr(mmengine_scheduler, name)


@pytest.mark.parametrize("name", SHARED)
def test_parameters_their_order_and_defaults(name):
    def listed(cls):
        mro = [c for c in cls.__mro__ if "ParamScheduler" in c.__name__ and c.__name__ != "_ParamScheduler"]
        parameters = inspect.signature(mro[0].__init__).parameters
        return [(p.name, p.default) for p in parameters.values() if p.name not in ("self", "optimizer", "param_name")]

    ours = inspect.signature(getattr(optim, name)).parameters
    found = [(p.name, p.default) for p in ours.values() if p.name not in ("optimizer", "param_name")]
    assert found == listed(theirs(name))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("row", ARGUMENTS)
def test_values_over_10_000_steps(row, seed):
    given = {**arguments(row, seed), "by_epoch": bool(seed % 2)}
    one, other = make_optimizer(), make_optimizer()
    ours, peer = getattr(optim, f"{row}LR")(one, **given), theirs(f"{row}LR")(other, **given)
    assert_near(record(one, [ours]), record(other, [peer]))


@pytest.mark.parametrize("seed", range(20))
def test_chains_over_10_000_steps(seed):
    one, other = make_optimizer(), make_optimizer()
    ours = [getattr(optim, f"{row}LR")(one, by_epoch=False, **given) for row, given in chain(seed)]
    peers = [theirs(f"{row}LR")(other, by_epoch=False, **given) for row, given in chain(seed)]
    assert_near(record(one, ours), record(other, peers))


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("row", [row for row in ARGUMENTS if row != "OneCycle"])
def test_momentum(row, kind):
    given = arguments(row, 0, 500)
    one, other = make_optimizer(kind), make_optimizer(kind)
    ours = getattr(optim, f"{row}Momentum")(one, by_epoch=False, **given)
    peer = theirs(f"{row}Momentum")(other, by_epoch=False, **given)
    assert_near(record(one, [ours], 600, "momentum"), record(other, [peer], 600, "momentum"))
    if kind == "AdamW":
        assert [g["betas"] for g in one.param_groups] == [pytest.approx(g["betas"]) for g in other.param_groups]


@pytest.mark.parametrize("row", [row for row in ARGUMENTS if row != "OneCycle"])
def test_any_entry_of_a_group(row):
    given = arguments(row, 1, 500)
    one, other = make_optimizer("AdamW"), make_optimizer("AdamW")
    ours = getattr(optim, f"{row}ParamScheduler")(one, "weight_decay", by_epoch=False, **given)
    peer = theirs(f"{row}ParamScheduler")(other, "weight_decay", by_epoch=False, **given)
    assert_near(record(one, [ours], 600, "weight_decay"), record(other, [peer], 600, "weight_decay"))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("row", ARGUMENTS)
def test_conversion_from_epochs(row, seed):
    given = arguments(row, seed, 60)
    one, other = make_optimizer(), make_optimizer()
    length = 3 + seed
    ours = getattr(optim, f"{row}LR").build_iter_from_epoch(one, epoch_length=length, **copy.deepcopy(given))
    peer = theirs(f"{row}LR").build_iter_from_epoch(other, epoch_length=length, **copy.deepcopy(given))
    assert (ours.begin, ours.end, ours.by_epoch) == (peer.begin, peer.end, peer.by_epoch)
    assert_near(record(one, [ours], 700), record(other, [peer], 700))


@pytest.mark.parametrize("row", [row for row in ARGUMENTS if row != "OneCycle"])  # its state holds a method
@pytest.mark.parametrize("seed", range(3))
def test_a_state_of_mmengine_is_taken_over(row, seed):
    given = arguments(row, seed, 400)
    other = make_optimizer()
    peer = theirs(f"{row}LR")(other, by_epoch=False, **given)
    record(other, [peer], random.Random(seed).randrange(1, 399))
    one = make_optimizer()
    ours = getattr(optim, f"{row}LR")(one, by_epoch=False, **given)
    one.load_state_dict(copy.deepcopy(other.state_dict()))
    ours.load_state_dict(copy.deepcopy(peer.state_dict()))
    assert_near(record(one, [ours], 400), record(other, [peer], 400))


def metrics(seed, n_steps=300):
    draw = random.Random(seed)
    value, found = draw.uniform(0.5, 5), []
    for _ in range(n_steps):
        value *= draw.choice([0.98, 1.0, 1.0, 1.005])
        found.append(value + draw.uniform(-0.02, 0.02))
    return found


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_reduce_on_plateau(seed, wrapped):
    draw = random.Random(f"plateau-{seed}")
    given = {
        "monitor": "acc",
        "rule": draw.choice(["less", "greater"]),
        "factor": draw.uniform(0.1, 0.9),
        "patience": draw.randrange(6),
        "threshold": draw.choice([0, 1e-4, 1e-2]),
        "threshold_rule": draw.choice(["rel", "abs"]),
        "cooldown": draw.randrange(4),
        "min_value": draw.choice([0.0, 1e-4, [1e-3, 1e-2, 1e-5]]),
        "eps": draw.choice([1e-8, 1e-3]),
        "begin": draw.choice([0, 5]),
        "end": draw.choice([200, 10**9]),
    }
    one, other = make_optimizer(), make_optimizer()
    ours = optim.ReduceOnPlateauLR(OptimWrapper(one) if wrapped else one, **given)
    peer = theirs("ReduceOnPlateauLR")(mmengine_optim.OptimWrapper(other) if wrapped else other, **given)
    for value in metrics(seed):
        for scheduler in (ours, peer):
            scheduler.step()
            scheduler.step({"acc": value})
        assert values_of(one) == values_of(other)
        assert (ours.num_bad_epochs, ours.cooldown_counter, ours.last_step, ours._global_step) == (
            *(peer.num_bad_epochs, peer.cooldown_counter, peer.last_step, peer._global_step),
        )
        assert list(ours.get_last_value()) == list(peer.get_last_value())


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_reduce_on_plateau_of_momentum_and_beside_another(kind):
    one, other = make_optimizer(kind), make_optimizer(kind)
    given = {"factor": 0.7, "patience": 2}
    ours = optim.ReduceOnPlateauMomentum(one, **given), optim.ReduceOnPlateauLR(one, **given)
    peer = theirs("ReduceOnPlateauMomentum")(other, **given), theirs("ReduceOnPlateauLR")(other, **given)
    cosine = optim.CosineAnnealingLR(one, T_max=400), theirs("CosineAnnealingLR")(other, T_max=400)
    for value in metrics(3):
        for scheduler in (*ours, *peer, *cosine):
            scheduler.step()
        for scheduler in (*ours, *peer):
            scheduler.step({"loss": value})
        assert values_of(one) == pytest.approx(values_of(other), abs=1e-12)
        assert values_of(one, "momentum") == values_of(other, "momentum")


def test_a_group_that_is_added_later():
    import torch

    one, other = make_optimizer(), make_optimizer()
    ours, peer = optim.ExponentialLR(one, gamma=0.9), theirs("ExponentialLR")(other, gamma=0.9)
    for optimizer, scheduler in ((one, ours), (other, peer)):
        record(optimizer, [scheduler], 10)
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.02})
    assert_near(record(one, [ours], 100), record(other, [peer], 100))

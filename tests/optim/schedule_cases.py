"""Random schedules for the comparisons, and how values are recorded."""

import random

import torch

RATES = (0.1, 0.37, 1e-3)
N_STEPS = 10_000


def make_optimizer(kind="SGD", rates=RATES, module=torch.optim):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return getattr(module, kind)(groups, lr=0.5, **({"momentum": 0.9} if kind == "SGD" else {}))


def values_of(optimizer, name="lr"):
    return [float(group[name]) for group in optimizer.param_groups]


def record(optimizer, schedulers, n_steps=N_STEPS, name="lr"):
    """The values in each of the steps; the schedulers are stepped after each."""
    found = []
    for _ in range(n_steps):
        found.append(values_of(optimizer, name))
        for scheduler in schedulers:
            scheduler.step()
    return found


def assert_near(found, expected, atol=1e-12):
    torch.testing.assert_close(
        torch.tensor(found, dtype=torch.float64), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=atol
    )


def _span(draw, n_steps):
    begin = draw.choice([0, draw.randrange(n_steps // 4)])
    return {"begin": begin, "end": begin + draw.randrange(2, n_steps)}


def _lowest(draw):
    return draw.choice([{"eta_min": draw.uniform(0, 5e-4)}, {"eta_min_ratio": draw.uniform(0, 0.5)}])


def _constant(draw, n_steps):
    return {"factor": draw.uniform(0.01, 1), **_span(draw, n_steps)}


def _linear(draw, n_steps):
    return {"start_factor": draw.uniform(0.01, 1), "end_factor": draw.uniform(0.01, 1), **_span(draw, n_steps)}


def _exponential(draw, n_steps):
    return {"gamma": 1 - 10 ** draw.uniform(-5, -2), **_span(draw, n_steps)}


def _step(draw, n_steps):
    return {"step_size": draw.randrange(1, n_steps // 3), "gamma": draw.uniform(0.1, 1), **_span(draw, n_steps)}


def _multistep(draw, n_steps):
    milestones = sorted(draw.sample(range(1, n_steps), draw.randrange(1, 8)))
    return {"milestones": milestones, "gamma": draw.uniform(0.1, 1), **_span(draw, n_steps)}


def _cosine(draw, n_steps):
    span = _span(draw, n_steps)
    return {**draw.choice([{}, {"T_max": draw.randrange(n_steps // 5, n_steps)}]), **_lowest(draw), **span}


def _poly(draw, n_steps):
    return {"eta_min": draw.uniform(0, 5e-4), "power": draw.choice([1.0, 0.9, 2.0, 0.5]), **_span(draw, n_steps)}


def _one_cycle(draw, n_steps):
    span = _span(draw, n_steps)
    span["end"] += 40
    return {
        "eta_max": draw.uniform(0.01, 0.5),
        "pct_start": draw.uniform(0.1, 0.45),
        "anneal_strategy": draw.choice(["cos", "linear"]),
        "div_factor": draw.uniform(2, 30),
        "final_div_factor": 10 ** draw.uniform(1, 5),
        "three_phase": draw.random() < 0.5,
        **span,
    }


def _cosine_restart(draw, n_steps):
    periods = [draw.randrange(1, n_steps // 3) for _ in range(draw.randrange(1, 6))]
    weights = [draw.uniform(0.1, 1.5) for _ in periods]
    return {"periods": periods, "restart_weights": weights, **_lowest(draw), **_span(draw, n_steps)}


ARGUMENTS = {
    "Constant": _constant,
    "Linear": _linear,
    "Exponential": _exponential,
    "Step": _step,
    "MultiStep": _multistep,
    "CosineAnnealing": _cosine,
    "Poly": _poly,
    "OneCycle": _one_cycle,
    "CosineRestart": _cosine_restart,
}
FACTORS = ("Constant", "Linear", "Exponential", "Step", "MultiStep")


def arguments(row, seed, n_steps=N_STEPS):
    """Random arguments of a schedule."""
    return ARGUMENTS[row](random.Random(f"{row}-{seed}"), n_steps)


def chain(seed, n_steps=N_STEPS):
    """(row, arguments) of factors that run side by side, and in half of the cases of a decay among them."""
    draw = random.Random(f"chain-{seed}")
    rows = draw.choices(FACTORS, k=draw.randrange(2, 4)) + draw.choice([[], ["Poly"], ["CosineAnnealing"]])
    draw.shuffle(rows)
    chosen = [(row, ARGUMENTS[row](draw, n_steps)) for row in rows]
    for row, given in chosen:
        if row not in FACTORS:  # two that do not commute are compared as they are, but far from the zero of a recursion
            given["end"] = given["begin"] + n_steps
            given.pop("T_max", None)
    return chosen

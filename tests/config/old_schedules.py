"""What the learning-rate hooks of MMCV 1.x computed, written down from their published formulas."""

import math


def annealed(start, end, share):
    return end + 0.5 * (start - end) * (math.cos(math.pi * share) + 1)


def step(base, t, n, step, gamma=0.1, min_lr=None):
    times = t // step if isinstance(step, int) else sum(t >= s for s in step)
    value = base * gamma**times
    return value if min_lr is None else max(value, min_lr)


def target(base, min_lr=None, min_lr_ratio=None):
    return base * min_lr_ratio if min_lr_ratio is not None else min_lr


def cosine(base, t, n, **lowest):
    return annealed(base, target(base, **lowest), t / n)


def flat_cosine(base, t, n, start_percent=0.75, **lowest):
    start = round(n * start_percent)
    return base if t < start else annealed(base, target(base, **lowest), (t - start) / (n - start))


def cosine_restart(base, t, n, periods, restart_weights=(1,), **lowest):
    before = 0
    for period, weight in zip(periods, restart_weights, strict=True):
        if t < before + period:
            low = target(base, **lowest)
            return low + 0.5 * weight * (base - low) * (math.cos(math.pi * (t - before) / period) + 1)
        before += period
    raise AssertionError("beyond the last period")


def poly(base, t, n, power=1.0, min_lr=0.0):
    return (base - min_lr) * (1 - t / n) ** power + min_lr


def linear_annealing(base, t, n, **lowest):
    return base + (target(base, **lowest) - base) * t / n


def cyclic(base, t, n, target_ratio=(10, 1e-4), cyclic_times=1, step_ratio_up=0.4, anneal_strategy="cos", gamma=1.0):
    period = n // cyclic_times
    rise = int(step_ratio_up * period)
    share = gamma ** (t // period)
    high, low = 1 - share + target_ratio[0] * share, target_ratio[1]
    t %= period
    start, end, done = (1, high, t / rise) if t < rise else (high, low, (t - rise) / (period - rise))
    if anneal_strategy == "linear":
        return base * (start + (end - start) * done)
    return annealed(base * start, base * end, done)


def one_cycle(base, t, n, max_lr, pct_start=0.3, anneal_strategy="cos", div_factor=25, final_div_factor=1e4):
    first = max_lr / div_factor
    start, value = 0, None
    for end, a, b in ((pct_start * n - 1, first, max_lr), (n - 1, max_lr, first / final_div_factor)):
        if t <= end:
            share = (t - start) / (end - start)
            value = annealed(a, b, share) if anneal_strategy == "cos" else a + (b - a) * share
            break
        start = end
    return value


POLICIES = {
    "fixed": lambda base, t, n: base,
    "step": step,
    "exp": lambda base, t, n, gamma: base * gamma**t,
    "poly": poly,
    "CosineAnnealing": cosine,
    "FlatCosineAnnealing": flat_cosine,
    "CosineRestart": cosine_restart,
    "LinearAnnealing": linear_annealing,
    "cyclic": cyclic,
    "OneCycle": one_cycle,
}
ITERATION_POLICIES = ("cyclic", "OneCycle")


def warm_up_factor(kind, t, n, ratio):
    if t >= n:
        return 1.0
    if kind == "constant":
        return ratio
    if kind == "linear":
        return 1 - (1 - t / n) * (1 - ratio)
    return ratio ** (1 - t / n)


def values(lr_config, base, n_epochs, epoch_length, by_epoch):
    """The learning rate of each iteration of a training by epoch, or of one of that many iterations."""
    options = dict(lr_config)
    policy = options.pop("policy")
    policy = policy.lower() if policy.lower() in POLICIES else policy
    count_epochs = options.pop("by_epoch", by_epoch and policy not in ITERATION_POLICIES)
    warmup, ratio = options.pop("warmup", None), options.pop("warmup_ratio", 0.1)
    length = options.pop("warmup_iters", 0) * (epoch_length if options.pop("warmup_by_epoch", False) else 1)
    rates = []
    for i in range(n_epochs * epoch_length):
        t, n = (i // epoch_length, n_epochs) if count_epochs else (i, n_epochs * epoch_length)
        rate = POLICIES[policy](base, t, n, **options)
        rates.append(rate * (warm_up_factor(warmup, i, length, ratio) if warmup else 1.0))
    return rates

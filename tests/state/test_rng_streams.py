import io
import random

import numpy as np
import torch

from trainwright.state import rng


def draw():
    return (
        [random.random() for _ in range(3)],
        random.gauss(0, 1),  # keeps a second number back
        np.random.rand(3).tolist(),
        float(np.random.randn()),  # so does this
        torch.rand(3).tolist(),
    )


def test_restore_repeats_all_streams():
    rng.seed_all(7)
    draw()
    state = rng.capture()
    first = draw()
    assert draw() != first
    rng.restore(state)
    assert draw() == first


def test_capture_draws_nothing():
    rng.seed_all(3)
    first = draw()
    rng.seed_all(3)
    rng.capture()
    assert draw() == first


def test_the_state_goes_through_a_safe_file():
    rng.seed_all(1)
    draw()
    file = io.BytesIO()
    torch.save(rng.capture(), file)
    expected = draw()
    file.seek(0)
    rng.restore(torch.load(file, weights_only=True))
    assert draw() == expected


def test_the_state_is_a_copy():
    state = rng.capture()
    before = state["torch"].clone(), state["numpy"]["keys"].clone()
    draw()
    assert torch.equal(state["torch"], before[0])
    assert torch.equal(state["numpy"]["keys"], before[1])


def test_seeds_beyond_numpy_s_range_seed_too():
    rng.seed_all(2**32 + 5)
    first = draw()
    rng.seed_all(2**32 + 5)
    assert draw() == first


def test_fresh_seeds_differ_and_fit():
    seeds = {rng.fresh_seed() for _ in range(8)}
    assert len(seeds) > 1
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_what_is_set_aside_leaves_no_trace():
    rng.seed_all(5)
    draw()
    state = rng.capture()
    expected = draw()
    rng.restore(state)
    with rng.set_aside():
        assert draw() == expected
        rng.seed_all(9)
        draw()
    assert draw() == expected

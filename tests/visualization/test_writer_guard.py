import logging
import random
import threading

import numpy as np
import pytest
import torch

from trainwright.base.logs import MMLogger
from trainwright.visualization import BaseVisBackend, LocalVisBackend, Visualizer
from trainwright.visualization.guard import WriterGuard


class Writer(BaseVisBackend):
    """Does what it is told to when numbers arrive."""

    needs_folder = False

    def __init__(self, act=lambda: None):
        super().__init__(None)
        self.act = act
        self.seen = []
        self.threads = set()
        self.closed = 0

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        self.threads.add(threading.current_thread().name)
        self.seen.append(step)
        self.act()

    def close(self):
        self.closed += 1


@pytest.fixture
def messages():
    """What is logged, with levels."""
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append((record.levelno, record.getMessage()))
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield seen
    logger.removeHandler(handler)


def writer_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("writer ")]


def fail():
    raise ConnectionError("no route to host")


def leave():
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("act", "why"), [(fail, "ConnectionError: no route to host"), (leave, "SystemExit: 3")], ids=["raises", "exits"]
)
def test_a_writer_that_raises_is_reported_once_and_left_out(tmp_path, messages, act, why):
    bad, good = Writer(act), Writer()
    visualizer = Visualizer(vis_backends=[{"type": "LocalVisBackend"}], save_dir=str(tmp_path))
    visualizer._vis_backends |= {"bad": bad, "good": good}
    for step in (1, 2, 3):
        visualizer.add_scalars({"loss": 1.0}, step=step)
    visualizer.close()
    assert (bad.seen, good.seen) == ([1], [1, 2, 3])
    assert (bad.closed, good.closed) == (0, 1)
    assert [level for level, _ in messages] == [logging.ERROR]
    text = messages[0][1]
    assert text.startswith(f"bad is not used any more: add_scalars raised {why}. Training goes on without it.\n")
    assert "Traceback" in text
    assert act.__name__ in text
    assert len((tmp_path / "vis_data" / "scalars.json").read_text().splitlines()) == 3
    assert writer_threads() == []


def test_a_writer_that_hangs_is_reported_once_and_left_out(messages):
    gate = threading.Event()
    slow, good = Writer(gate.wait), Writer()
    visualizer = Visualizer(writer_timeout_s=0.05)
    visualizer._vis_backends |= {"slow": slow, "good": good}
    visualizer.add_scalars({"loss": 1.0}, step=1)
    visualizer.add_scalars({"loss": 1.0}, step=2)
    visualizer.close()
    assert (slow.seen, good.seen, slow.closed) == ([1], [1, 2], 0)
    assert messages == [
        (
            logging.ERROR,
            "slow is not used any more: add_scalars took longer than 0.05 s (writer_timeout_s of the visualizer). "
            "Training goes on without it.",
        )
    ]
    stuck = writer_threads()
    assert [thread.daemon for thread in stuck] == [True]
    gate.set()
    stuck[0].join(5)
    assert writer_threads() == []


def test_the_files_of_a_run_are_no_matter_of_taste(tmp_path):
    visualizer = Visualizer(vis_backends=LocalVisBackend(str(tmp_path)))
    with pytest.raises(TypeError, match="cannot be written as a scalar"):
        visualizer.add_scalars({"loss": object()})
    assert writer_threads() == []


def test_one_thread_for_all_calls_until_it_is_closed():
    writer = Writer()
    visualizer = Visualizer(vis_backends=writer)
    assert writer_threads() == []
    visualizer.add_scalars({"loss": 1.0}, step=1)
    first = writer_threads()
    visualizer.add_scalars({"loss": 1.0}, step=2)
    assert writer_threads() == first
    assert writer.threads == {"writer Writer"}
    visualizer.close()
    assert writer_threads() == []
    visualizer.add_scalars({"loss": 1.0}, step=3)
    assert writer.seen == [1, 2, 3]
    visualizer.close()
    assert writer.closed == 2
    assert writer_threads() == []


def test_a_forgotten_writer_lets_its_thread_go():
    guard = WriterGuard("forgotten", 5.0)
    guard.call("x", lambda: None)
    (thread,) = writer_threads()
    del guard
    thread.join(5)
    assert not thread.is_alive()


def test_a_writer_moves_no_random_stream():
    def draw():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    visualizer = Visualizer(vis_backends=Writer(draw))
    visualizer.add_scalars({"loss": 1.0})
    visualizer.close()
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_what_a_writer_logs_goes_to_the_current_logger():
    current = []
    logger = MMLogger.get_instance("test_what_a_writer_logs")
    visualizer = Visualizer(vis_backends=Writer(lambda: current.append(MMLogger.get_current_instance())))
    MMLogger.get_instance("test_what_a_writer_logs_later")
    with logger.as_current():
        visualizer.add_scalars({"loss": 1.0})
    visualizer.close()
    assert current == [logger]

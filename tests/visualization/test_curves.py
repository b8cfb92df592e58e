import json
import math

import pytest

from trainwright.visualization import curves as curves_module
from trainwright.visualization import draw_curves, read_curves


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def train_line(iteration, epoch=1, **more):
    line = {"lr": 0.1, "data_time": 0.001, "loss": 2.0 / iteration, "time": 0.01, "epoch": epoch, "iter": iteration}
    return {**line, "memory": 0, "step": iteration, **more}


@pytest.fixture
def run(tmp_path):
    lines = [train_line(i, epoch=(i - 1) // 40 + 1, lr=0.1 / i) for i in range(10, 90, 10)]
    lines.insert(4, {"accuracy/top1": 90.0, "data_time": 0.1, "time": 0.2, "step": 1, "iter": 40, "phase": "val"})
    lines.append({"accuracy/top1": 97.5, "loss": 0.3, "time": 0.2, "step": 2, "iter": 80, "phase": "val"})
    return write(tmp_path / "digits" / "20250101_120000" / "vis_data" / "scalars.json", lines)


def test_reads_each_group_over_iterations(run):
    curves = read_curves(run)
    assert list(curves.losses) == ["loss"]
    assert curves.losses["loss"].x == list(range(10, 90, 10))
    assert curves.rates["lr"].y[0] == 0.01
    assert curves.metrics["accuracy/top1"].x == [40, 80]
    assert curves.metrics["accuracy/top1"].y == [90.0, 97.5]
    assert list(curves.val_losses) == ["loss"]
    assert curves.val_losses["loss"].x == [80]


def test_validation_lines_that_hold_only_the_epoch_are_placed_at_its_end(tmp_path):
    lines = [train_line(i, epoch=(i - 1) // 40 + 1) for i in range(10, 90, 10)] + [{"acc": 0.5, "step": 2, "time": 1.0}]
    lines.insert(4, {"acc": 0.4, "step": 1, "time": 1.0})
    assert read_curves(write(tmp_path / "s.json", lines)).metrics["acc"].x == [40, 80]


def test_a_resumed_run_overwrites_what_came_after_its_checkpoint(tmp_path):
    first = write(tmp_path / "a.json", [*map(train_line, (10, 20, 30, 40)), {"acc": 0.1, "step": 40, "iter": 40}])
    second = write(tmp_path / "b.json", [train_line(i, loss=9.0) for i in (30, 40)])
    curves = read_curves([first, second])
    assert curves.losses["loss"].x == [10, 20, 30, 40]
    assert curves.losses["loss"].y == [0.2, 0.1, 9.0, 9.0]
    assert curves.metrics == {}


def test_a_line_cut_off_by_a_kill_is_skipped(tmp_path):
    path = write(tmp_path / "s.json", [train_line(10), train_line(20)])
    path.write_text(path.read_text() + '{"lr": 0.1, "loss": 0.')
    assert read_curves(path).losses["loss"].x == [10, 20]


def test_best_is_the_highest_or_for_errors_the_lowest():
    series = curves_module.Series([1, 2, 3, 4], [0.5, 0.9, float("nan"), 0.9])
    assert series.best(less=False) == (2, 0.9)
    assert series.best(less=True) == (1, 0.5)
    assert curves_module.Series([1], [float("inf")]).best(less=True) is None
    assert curves_module.LESS_IS_BETTER.search("bits_per_byte")
    assert not curves_module.LESS_IS_BETTER.search("accuracy/top1")


def painted(run, monkeypatch, tmp_path, **kwargs):
    """Draw, and return the figure that was saved."""
    from matplotlib.figure import Figure

    seen = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (seen.append(self), save(self, *a, **k)))
    out = draw_curves(run, tmp_path / "pictures" / "curves.png", **kwargs)
    assert out == tmp_path / "pictures" / "curves.png"
    assert out.read_bytes().startswith(b"\x89PNG")
    return seen[0]


def test_picture_has_three_panels_a_title_and_the_best_value(run, monkeypatch, tmp_path):
    figure = painted(run, monkeypatch, tmp_path)
    losses, rates, metrics = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "learning rate", "accuracy/top1"]
    assert metrics.get_xlabel() == "iteration"
    assert figure.get_suptitle() == "digits"
    assert metrics.get_legend().get_texts()[0].get_text() == "accuracy/top1: best 97.5 at iteration 80"
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["loss", "loss (validation)"]
    assert rates.get_yscale() == "linear"


@pytest.mark.parametrize(
    ("rate", "scale"),
    [
        (lambda i: 1e-3 * (1 + math.cos(math.pi * i / 101)), "linear"),
        (lambda i: 0.1 ** (1 + i // 30), "log"),
        (lambda i: 0.1 / math.sqrt(i), "linear"),
        (lambda i: 0.0, "linear"),
    ],
    ids=["cosine_to_zero", "steps", "inverse_root", "zero"],
)
def test_learning_rate_is_logarithmic_when_much_of_it_would_lie_on_the_axis(tmp_path, monkeypatch, rate, scale):
    path = write(tmp_path / "s.json", [train_line(i, lr=rate(i), loss=1.0) for i in range(1, 101)])
    figure = painted(path, monkeypatch, tmp_path, title="a title")
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", scale]
    assert figure.get_suptitle() == "a title"


def test_a_metric_that_begins_near_zero_stays_linear_and_one_that_falls_by_decades_does_not(tmp_path, monkeypatch):
    def val(i, value):
        return {"acc": value, "step": i, "iter": i, "phase": "val"}

    rises = write(tmp_path / "a.json", [val(i, value) for i, value in enumerate([0.1, 40, 60, 70, 75], 1)])
    falls = write(tmp_path / "b.json", [val(i, 10.0**-i) for i in range(5)])
    assert painted(rises, monkeypatch, tmp_path).axes[0].get_yscale() == "linear"
    assert painted(falls, monkeypatch, tmp_path).axes[0].get_yscale() == "log"


def resumed_run(tmp_path, *places):
    """A run of 100 iterations, and parts that took it up at ``places``."""
    files = [write(tmp_path / "0" / "scalars.json", [train_line(i) for i in range(1, 101)])]
    for number, at in enumerate(places, 1):
        lines = [train_line(i) for i in range(at + 1, 101)]
        files.append(write(tmp_path / str(number) / "scalars.json", lines))
        (files[-1].parent / "resumed.json").write_text(json.dumps({"iter": at, "val_due": False}))
    return files


def dashed(axes):
    return [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]


def test_lines_stand_where_the_run_was_resumed(tmp_path, monkeypatch):
    losses, rates = painted(resumed_run(tmp_path, 40, 60, 97), monkeypatch, tmp_path).axes
    assert dashed(losses) == dashed(rates) == [40, 60, 97]
    assert [text.get_text() for text in losses.texts] == ["resumed at 40", "resumed at 60", "resumed at 97"]
    assert list(rates.texts) == []
    frame = losses.get_window_extent()
    boxes = [text.get_window_extent() for text in losses.texts]
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and box.y1 <= frame.y1 for box in boxes)


def test_labels_of_resumes_close_together_make_way(tmp_path, monkeypatch):
    losses, _ = painted(resumed_run(tmp_path, 40, 41, 42), monkeypatch, tmp_path).axes
    assert dashed(losses) == [40, 41, 42]
    assert [text.get_text() for text in losses.texts] == ["resumed at 40"]


def test_a_run_that_was_not_resumed_has_no_such_line(run, monkeypatch, tmp_path):
    assert [dashed(axes) for axes in painted(run, monkeypatch, tmp_path).axes] == [[], [], []]


def test_legends_stand_above_the_data_and_within_the_picture(tmp_path, monkeypatch):
    terms = {f"loss_of_a_head_with_a_long_name_{n}": 1.0 + n for n in range(5)}
    lines = [train_line(i, loss=3.0, **terms) for i in (1, 2)] + [{"a": 0.5, "b": 0.1, "step": 2, "phase": "val"}]
    figure = painted(write(tmp_path / "s.json", lines), monkeypatch, tmp_path)
    for axes in (figure.axes[0], figure.axes[2]):
        box, frame = axes.get_legend().get_window_extent(), axes.get_window_extent()
        assert box.y0 >= frame.y1
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_a_single_loss_term_is_drawn_once_and_several_all(tmp_path, monkeypatch):
    one = write(tmp_path / "one.json", [train_line(i, loss=1.0, loss_ce=1.0) for i in (1, 2)])
    assert len(painted(one, monkeypatch, tmp_path).axes[0].lines) == 1
    two = write(tmp_path / "two.json", [train_line(i, loss=1.5, loss_a=1.0, loss_b=0.5) for i in (1, 2)])
    assert len(painted(two, monkeypatch, tmp_path).axes[0].lines) == 3


def test_long_runs_are_smoothed_and_values_that_are_not_finite_do_no_harm(tmp_path, monkeypatch):
    lines = [train_line(i, loss=float("nan") if i == 7 else 1.0 / i) for i in range(1, 400)]
    lines.append({"acc": float("nan"), "step": 400, "iter": 400, "phase": "val"})
    figure = painted(write(tmp_path / "s.json", lines), monkeypatch, tmp_path)
    assert len(figure.axes[0].lines) == 2
    assert figure.axes[2].get_legend().get_texts()[0].get_text() == "acc"


def test_panels_without_data_are_left_out(tmp_path, monkeypatch):
    only_val = write(tmp_path / "s.json", [{"acc": 0.5, "step": 1}])
    assert [axes.get_ylabel() for axes in painted(only_val, monkeypatch, tmp_path).axes] == ["acc"]


def test_nothing_to_draw_gives_none_and_no_file(tmp_path):
    empty = write(tmp_path / "s.json", [])
    assert draw_curves(empty, tmp_path / "curves.png") is None
    assert not (tmp_path / "curves.png").exists()

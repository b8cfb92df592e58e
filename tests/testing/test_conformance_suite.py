"""The suite itself: strategies that are broken on purpose are caught by the behaviour that should, gaps are strict."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.registry import STRATEGIES
from trainwright.strategies import DDPStrategy, FSDPStrategy, SingleDeviceStrategy
from trainwright.testing.conformance import (
    BEHAVIOURS,
    COLUMNS,
    Column,
    Subject,
    ask,
    chosen,
    conformance_tests,
)
from trainwright.testing.conformance.behaviour import Behaviour
from trainwright.testing.conformance.comparing import expect, expect_alike, expect_close
from trainwright.testing.conformance.table import BEGIN, END, declared, found, main, put_into, table

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


# -- teeth ---------------------------------------------------------------------------------------------------------
@STRATEGIES.register_module()
class NoAverage(DDPStrategy):
    """Never exchanges gradients."""

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        wrapped: Any = super()._wrap_model(model)
        wrapped.require_backward_grad_sync = False
        return wrapped  # type: ignore[no-any-return]


@STRATEGIES.register_module()
class AlwaysAverage(DDPStrategy):
    """Exchanges gradients inside accumulation windows, too."""

    def grad_sync(self, on: bool) -> Any:
        return nullcontext()


@STRATEGIES.register_module()
class LocalNorm(FSDPStrategy):
    """Clips by the norm of this rank's part."""

    def attach_optim_wrapper(self, optim_wrapper: Any) -> Any:
        wrapper: Any = super().attach_optim_wrapper(optim_wrapper)

        def clip(params: list[nn.Parameter], type: str = "norm", **options: Any) -> torch.Tensor:
            parts = [dist.local(param.grad) for param in params if param.grad is not None]
            total = nn.utils.get_total_norm(parts)
            torch._foreach_mul_(parts, torch.clamp(options["max_norm"] / (total + 1e-6), max=1.0))
            return total

        wrapper.clip_grads = clip
        return wrapper


@STRATEGIES.register_module()
class OwnWeights(DDPStrategy):
    """Lets every rank begin with weights of its own."""

    @staticmethod
    def _equalise(model: nn.Module) -> None:
        if dist.get_rank():
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(1.0)


@STRATEGIES.register_module()
class ForgetsOptimizer(SingleDeviceStrategy):
    """Saves an optimizer without its moments."""

    def optim_state_dict(self) -> dict[str, Any]:
        return {**super().optim_state_dict(), "state": {}}


@STRATEGIES.register_module()
class Prefixed(SingleDeviceStrategy):
    """Names weights as a wrapper would."""

    def model_state_dict(self) -> dict[str, Any]:
        return {f"module.{name}": value for name, value in super().model_state_dict().items()}


@STRATEGIES.register_module()
class InitialisesTwice(SingleDeviceStrategy):
    def init_model_weights(self) -> None:
        super().init_model_weights()
        super().init_model_weights()


@STRATEGIES.register_module()
class TakesAnything(SingleDeviceStrategy):
    """Ignores settings that it does not know."""

    def __init__(self, **kwargs: Any) -> None:
        known = ("work_dir", "experiment_name", "env_kwargs", "log_kwargs", "auto_scale_lr")
        super().__init__(**{name: value for name, value in kwargs.items() if name in known})


@STRATEGIES.register_module()
class ReadsLosses(SingleDeviceStrategy):
    """Looks at the loss in every iteration."""

    def train_step(self, data: Any) -> dict[str, torch.Tensor]:
        losses = super().train_step(data)
        assert losses["loss"].item() > 0
        return losses


@STRATEGIES.register_module()
class CountsTheWorld(DDPStrategy):
    """Lets all ranks see the same samples."""

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        groups = [torch.distributed.new_group([rank]) for rank in range(dist.get_world_size())]
        dist.set_data_axis(groups[dist.get_rank()])
        return super()._wrap_model(model)


TEETH: list[tuple[Any, int, str, str]] = [
    (NoAverage, 2, "sgd_as_one_process", "losses.train/loss"),
    (AlwaysAverage, 2, "no_exchange_in_a_window", "needs none of gradients"),
    (LocalNorm, 2, "clip_by_norm", "differs by"),
    (OwnWeights, 2, "equal_weights_at_the_start", "first weights of rank 1 and of rank 0"),
    (ForgetsOptimizer, 1, "exact_in_an_epoch", "differences"),
    (Prefixed, 1, "names_and_shapes", "module.embed.weight"),
    (InitialisesTwice, 1, "weights_initialised_once", "init_weights was called (2, 2) times"),
    (TakesAnything, 1, "unknown_settings_refused", "rank 0 said '' to the setting find_unusd"),
    (ReadsLosses, 1, "no_host_reads_between_logs", "6 reads in 6 iterations"),
    (CountsTheWorld, 2, "split_without_overlap", "of 32 samples"),
    (CountsTheWorld, 2, "order_as_one_process", "samples of an iteration"),
    (CountsTheWorld, 2, "data_ranks_as_declared", "rank 0 shares the data with 1 ranks, wanted 2"),
]


@pytest.mark.parametrize(
    ("strategy", "n_ranks", "name", "text"), TEETH, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_broken_strategy_is_caught(tmp_path: Path, strategy: type, n_ranks: int, name: str, text: str) -> None:
    with pytest.raises(AssertionError) as caught:
        ask(Subject({"type": strategy.__name__}, n_ranks, tmp_path), name)
    assert text in str(caught.value), str(caught.value)


def test_what_failed_is_said_of_the_rank_that_failed_first(tmp_path: Path) -> None:
    def fail(task: Any) -> None:
        raise ConfigError(f"on {dist.get_rank()}")

    with pytest.raises(AssertionError, match="rank [01] failed:\nTraceback(.*\n)*.*ConfigError: on [01]"):
        Subject({"type": "DDPStrategy"}, 2, tmp_path).here(fail)


# -- one line for a strategy of one's own ----------------------------------------------------------------------------
THEIRS = """
from trainwright.registry import STRATEGIES
from trainwright.strategies import DDPStrategy, SingleDeviceStrategy
from trainwright.testing.conformance import conformance_tests

@STRATEGIES.register_module()
class Mine(SingleDeviceStrategy):
    def model_state_dict(self):
        return {"x": 1, **super().model_state_dict()}

TestGap = conformance_tests({"type": "Mine"}, gaps={"names_and_shapes": "it has an x"}, behaviours="names*")
TestNoGap = conformance_tests({"type": "Mine"}, gaps={"auto_scale_lr": "no idea"}, behaviours="auto*")
TestBroken = conformance_tests({"type": "Mine"}, behaviours="names_and_shapes")
TestRanks = conformance_tests({"type": "DDPStrategy"}, n_ranks=2, behaviours="drawn_seed*")
"""


@pytest.mark.conformance  # long
def test_one_line_makes_the_tests_of_a_strategy(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", "test_theirs.py"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120).stdout
    assert "XFAIL test_theirs.py::TestGap::test_names_and_shapes - it has an x" in said
    assert "FAILED test_theirs.py::TestNoGap::test_auto_scale_lr - " in said
    assert "auto_scale_lr is there, and named as a gap (no idea): take it out of gaps." in said
    assert "FAILED test_theirs.py::TestBroken::test_names_and_shapes - " in said
    assert "PASSED test_theirs.py::TestRanks::test_drawn_seed_agreed" in said
    assert "2 failed, 1 passed, 1 xfailed" in said


def test_nothing_of_it_needs_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; from trainwright.testing.conformance import BEHAVIOURS as found"
    code += "; print(len(found))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout
    assert int(said) == len(BEHAVIOURS) >= 60


def names_of(*args: Any, **kwargs: Any) -> list[str]:
    return [name for name in vars(conformance_tests(*args, **kwargs)) if name.startswith("test_")]


def test_those_are_asked_that_a_strategy_can_answer() -> None:
    all_of_them = {f"test_{name}" for name in BEHAVIOURS}
    assert set(names_of({"type": "DDPStrategy"}, n_ranks=2)) == all_of_them
    assert all_of_them - set(names_of(None)) == {
        f"test_{b.name}" for b in chosen() if b.n_ranks > 1 or b.n_data_ranks > 1
    }
    only = all_of_them - set(names_of({"type": "X"}, n_ranks=2, n_data_ranks=1))
    assert only == {f"test_{b.name}" for b in chosen() if b.n_data_ranks > 1} != set()
    halves = [names_of(None, quick=quick) for quick in (True, False)]
    assert sorted(sum(halves, [])) == sorted(names_of(None))
    assert all(len(half) > 15 for half in halves)


def test_wrong_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="gaps names 'compild', which is no behaviour. Did you mean 'compiled'?"):
        conformance_tests(None, gaps={"compild": "because"})
    with pytest.raises(ConfigError, match="gaps must give the reason of 'compiled' as a text, got ' '."):
        conformance_tests(None, gaps={"compiled": " "})
    with pytest.raises(ConfigError, match="no behaviour is named 'compild'. Did you mean 'compiled'?"):
        chosen("compild")
    with pytest.raises(ConfigError, match="takes a Column as it is"):
        conformance_tests(COLUMNS["single"], n_ranks=2)


def test_a_column_that_cannot_be_asked_is_skipped(tmp_path: Path) -> None:
    tests = conformance_tests(Column("other", None, needs="no_such_package"), behaviours="auto*")()
    with pytest.raises(pytest.skip.Exception, match="needs no_such_package"):
        tests.test_auto_scale_lr(tmp_path)  # type: ignore[attr-defined]


def test_settings_of_single_behaviours(tmp_path: Path) -> None:
    subject = Subject({"type": "X", "a": 1}, 2, tmp_path, settings={"ema": {"a": 2}})
    assert subject.asked_for("ema").strategy == {"type": "X", "a": 2}
    assert subject.asked_for("compiled") is subject


# -- comparing -----------------------------------------------------------------------------------------------------
def said_of(work: Callable[[], Any]) -> str:
    with pytest.raises(AssertionError) as caught:
        work()
    return str(caught.value)


def test_differences_say_where_they_are() -> None:
    one = {"a": [1.0, torch.ones(2)], "b": "x"}
    expect_close(one, {"a": [1.0, torch.ones(2)], "b": "x"}, "tree")
    expect_close({"a": float("nan")}, {"a": float("nan")}, "nan")
    expect_close(torch.ones(2), torch.ones(2) + 1e-7, "near", 1e-6)
    expect(True, "not said")
    assert said_of(lambda: expect(False, "said")) == "said"
    cases: list[tuple[Any, str]] = [
        ({"a": [1.5, torch.ones(2)], "b": "x"}, "tree.a[0]: differs by 0.5, allowed is 0"),
        ({"a": [1.0, torch.zeros(2)], "b": "x"}, "tree.a[1]: differs by 1, allowed is 0"),
        ({"a": [1.0, torch.ones(3)], "b": "x"}, "tree.a[1]: shape (2,), wanted (3,)"),
        ({"a": [1.0], "b": "x"}, "tree.a: 2 values, wanted 1"),
        ({"a": [1.0, torch.ones(2)], "b": "y"}, "tree.b: 'x', wanted 'y'"),
        ({"a": [1.0, torch.ones(2)]}, "tree: keys ['a', 'b'], wanted ['a']"),
        ({"a": [1.0, torch.tensor([1.0, float("nan")])], "b": "x"}, "tree.a[1]: differs by nan, allowed is 0"),
    ]
    for other, text in cases:
        assert said_of(lambda other=other: expect_close(one, other, "tree")) == text  # type: ignore[misc]
    many = said_of(lambda: expect_close([0.0] * 9, [1.0] * 9, "list"))
    assert many.endswith("\n... and 4 more")
    assert expect_alike([3, 3], "number") == 3
    assert said_of(lambda: expect_alike([3, 4], "number")) == "number of rank 1 and of rank 0: 4, wanted 3"


# -- the table -----------------------------------------------------------------------------------------------------
def fixed(name: str, check: Callable[[Subject], None], **settings: Any) -> Behaviour:
    return Behaviour(name, f"{name} is kept.", check, **settings)


def broken(subject: Subject) -> None:
    raise AssertionError("it is broken")


def kept(subject: Subject) -> None:
    return


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> tuple[Behaviour, Behaviour, Behaviour]:
    made = fixed("good", kept), fixed("bad", broken), fixed("several", kept, n_ranks=2)
    monkeypatch.setattr("trainwright.testing.conformance.suite.BEHAVIOURS", {one.name: one for one in made})
    return made


def test_what_is_found_is_told_from_what_is_declared(two: Any, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, several = two
    plain, honest = Column("plain", None), Column("honest", None, gaps={"bad": "why", "good": "no idea"})
    absent = Column("absent", None, needs="no_such_package")
    assert [declared(plain, one) for one in two] == ["yes", "yes", "-"]
    assert [found(plain, one) for one in two] == ["yes", "**no**", "-"]
    assert "== plain: bad\nTraceback" in capsys.readouterr().err
    assert [found(honest, one) for one in (good, bad)] == ["**yes**", "no"]
    assert "== honest: good is there, and declared as a gap" in capsys.readouterr().err
    assert [found(absent, one) for one in (good, several)] == ["?", "-"]
    assert list(table([plain, honest], [bad])) == [
        "| behaviour | plain | honest | what is promised |",
        "|---|---|---|---|",
        "| `bad` | yes | no | bad is kept. |",
        "",
        "| gap | strategy | reason |",
        "|---|---|---|",
        "| `bad` | honest | why |",
    ]


def test_the_command(two: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    columns = {column.name: column for column in (Column("plain", None), Column("honest", None, gaps={"bad": "why"}))}
    monkeypatch.setattr("trainwright.testing.conformance.table.COLUMNS", columns)
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n{BEGIN}\nold\n{END}\nend\n")
    with pytest.raises(SystemExit) as ended:
        main(["--strategy", "honest", "--output", str(page)])
    assert not ended.value.code
    lines = capsys.readouterr().out.strip()
    assert "| `good` | yes | good is kept. |" in lines
    assert page.read_text() == f"# Page\n{BEGIN}\n{lines}\n{END}\nend\n"
    with pytest.raises(SystemExit) as ended:
        main(["--behaviour", "bad"])
    assert ended.value.code == 1
    assert "| `bad` | **no** | no | bad is kept. |" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no strategy of the table is named 'plan'. Did you mean 'plain'?"):
        main(["--strategy", "plan"])
    with pytest.raises(ConfigError, match="there is no place for the table in the page"):
        put_into("# Page\n", [])


def test_the_page_has_the_table_that_the_tests_hold_up() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == put_into(page, list(table(list(COLUMNS.values()), chosen())))

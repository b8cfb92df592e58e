"""The whole fault matrix at full length, as a table in Markdown: `make faults`.

    long_run.py [--kills 2000] [--damages 2000] [--rows 1 2 3 ...]

Kills are shared out evenly among the variants. The rows that are tests are run by pytest, all of them.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

import torch
from corruptions import Target
from harness import LAYOUTS
from kills import Report, Trial, kill_again_and_again, one_process, two_ranks
from resume_grid import STRATEGIES, grid, resume_differs
from saves import SCENARIOS
from test_row_03_crash_points import cut_off_everywhere
from test_row_04_power_loss import MUTANTS, lose_power

HERE = Path(__file__).resolve().parent
RANK_VARIANTS = (("DDPStrategy", "file"), ("FSDPStrategy", "file"), ("FSDPStrategy", "folder"))


@dataclass
class Outcome:
    """A line of the table."""

    what: str
    figures: str
    is_good: bool


def kills_of_one(folder: Path, n_kills: int, damages: int) -> Iterator[Outcome]:
    """Row 1."""
    variants = [(layout, max_keep) for layout in LAYOUTS for max_keep in (1, 3)]
    for layout, max_keep in variants:
        place = folder / f"{layout}_{max_keep}"
        trial = one_process(place, layout, checkpoint={"max_keep_ckpts": max_keep})
        report = kill_again_and_again(place, trial, -(-n_kills // len(variants)), seed=max_keep)
        yield _killed(f"SIGKILL of the one process, layout {layout}, max_keep_ckpts={max_keep}", report)


def kills_of_a_rank(folder: Path, n_kills: int, damages: int) -> Iterator[Outcome]:
    """Row 2."""
    for strategy, layout in RANK_VARIANTS:
        place = folder / f"{strategy}_{layout}"
        trial: Trial = two_ranks(place, strategy, layout, checkpoint={"max_keep_ckpts": 1})
        report = kill_again_and_again(place, trial, -(-n_kills // (2 * len(RANK_VARIANTS))), seed=3)
        yield _killed(f"SIGKILL of one of two ranks, {strategy}, layout {layout}, max_keep_ckpts=1", report)


def _killed(what: str, report: Report) -> Outcome:
    figures = (
        f"{report.n_kills:,} kills, {len(report.unreadable)} unreadable, {len(report.lost)} lost; "
        f"{report.n_completed:,} runs completed, {len(report.different)} of them different"
    )
    return Outcome(what, figures, not report.problems)


def every_crash_point(folder: Path, n_kills: int, damages: int) -> Iterator[Outcome]:
    """Row 3."""
    for layout in LAYOUTS:
        for scenario in SCENARIOS:
            points, problems = cut_off_everywhere(
                folder / layout / scenario.replace(" ", "_") / "run", layout, scenario
            )
            figures = f"{len(points)} points, {len(problems)} without the right checkpoint"
            yield Outcome(f"death at every call, layout {layout}, {scenario}", figures, not problems)


def every_power_loss(folder: Path, n_kills: int, damages: int) -> Iterator[Outcome]:
    """Row 4."""
    for layout in LAYOUTS:
        for scenario in SCENARIOS:
            n, problems = lose_power(folder / layout / scenario.replace(" ", "_") / "run", layout, scenario)
            yield Outcome(
                f"power loss, layout {layout}, {scenario}", f"{n:,} states, {len(problems)} bad", not problems
            )
        for number, mutant in enumerate(MUTANTS):
            n, problems = lose_power(folder / layout / f"mutant_{number}" / "run", layout, SCENARIOS[1], mutant)
            yield Outcome(
                f"the same save, wrong on purpose: {mutant}, layout {layout}",
                f"{n:,} states, {len(problems):,} bad: caught" if problems else f"{n:,} states: NOT caught",
                bool(problems),
            )


def every_damage(folder: Path, n_kills: int, damages: int) -> Iterator[Outcome]:
    """Row 8."""
    for layout in LAYOUTS:
        target = Target(folder / layout, layout)
        for number, file in enumerate(target.files()):
            tally = target.damage(file, damages, seed=number)
            figures = (
                f"{tally.n:,} damages, {tally.n_harmless} without effect, {len(tally.problems)} silently wrong or not "
                "stepped over"
            )
            yield Outcome(f"damage of {file.name}, layout {layout}", figures, not tally.problems)


def whole_grid(folder: Path, n_kills: int, damages: int) -> Iterator[Outcome]:
    """Row 20."""
    for strategy in STRATEGIES:
        cases = [case for case in grid() if case.strategy == strategy]
        differ = [case for at, case in enumerate(cases) if resume_differs(case, folder / f"{strategy}_{at}")]
        what = f"stopped at a random step and resumed: loops, workers, AMP, accumulation, EMA, schedules; {strategy}"
        yield Outcome(what, f"{len(cases)} cases, {len(differ)} of them not bit for bit as unbroken", not differ)


MEASURED: dict[str, Callable[[Path, int, int], Iterator[Outcome]]] = {
    "1": kills_of_one,
    "2": kills_of_a_rank,
    "3": every_crash_point,
    "4": every_power_loss,
    "8": every_damage,
    "20": whole_grid,
}


def tests_of_rows() -> dict[str, Path]:
    """The rows that are tests here, by number or numbers, and their files."""
    found: dict[str, Path] = {}
    for file in sorted(HERE.glob("test_row_*.py")):
        rows = [str(int(number)) for number in re.findall(r"_(\d\d)(?=_)", file.stem)]
        found[" ".join(row for row in rows if row not in MEASURED)] = file
    found.pop("", None)
    return found


def tested(row: str) -> Outcome:
    """A row whose tests pytest runs; what they are is the first line of their file."""
    file = tests_of_rows()[row]
    what = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or file.stem).splitlines()[0]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", str(file)],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    last = (done.stdout.strip().splitlines() or ["no test was run"])[-1]
    return Outcome(what, f"tests: {last.partition(' in ')[0].strip('= ')}", done.returncode == 0)


def outcomes(row: str, folder: Path, n_kills: int, damages: int) -> Iterator[Outcome]:
    """The lines of a row."""
    if row in MEASURED:
        yield from MEASURED[row](folder, n_kills, damages)
    else:
        yield tested(row)


def main(arguments: list[str]) -> int:
    """Run the rows, write the table, and say by the exit status whether all is good."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=2000, help="of one process; half as many of a rank of two")
    parser.add_argument("--damages", type=int, default=2000, help="a file")
    rows = sorted([*MEASURED, *tests_of_rows()], key=lambda row: int(row.split()[0]))
    parser.add_argument("--rows", nargs="*", metavar="ROW", default=rows, help=", ".join(rows))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    write = sys.stdout.write
    write("| row | fault | what came of it | | s |\n|---|---|---|---|---|\n")
    all_good = True
    for row in chosen.rows:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.monotonic()
            for outcome in outcomes(row, Path(folder), chosen.kills, chosen.damages):
                seconds, begun = time.monotonic() - begun, time.monotonic()
                verdict = "ok" if outcome.is_good else "**BAD**"
                write(f"| {row} | {outcome.what} | {outcome.figures} | {verdict} | {seconds:.0f} |\n")
                sys.stdout.flush()
                all_good &= outcome.is_good
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Time and memory to read and to dump a config of 600 leaves that inherits over four levels, beside MMEngine.

The files are written anew for every repetition, so that nobody reads a file twice. Each measurement is a process of its
own; the engines take turns, round after round. A row has the medians over the rounds, and "times ours" is the median of
the ratios within a round. Exits 1 when MMEngine is less than 10 times slower at reading and dumping together, when it
needs less memory, or when `import trainwright.config` takes 60 ms or loads torch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import print_table
from overhead import environment

WORKER = Path(__file__).resolve().parent / "config_worker.py"
ENGINES = ("trainwright", "mmengine")
PHASES = ("read", "dump", "both")
LEAVES = 600
LIMIT_RATIO = 10.0
LIMIT_IMPORT_S = 0.06


def work(python: str, engine: str, what: str, repeats: int) -> dict[str, Any]:
    """One process: one engine, one syntax or the import."""
    command = [python, str(WORKER), engine, what, str(repeats)]
    done = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{engine} {what} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def installed(python: str) -> list[str]:
    """Those engines that the interpreter can import."""
    code = "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if u.find_spec(n)])"
    command = [python, "-c", code, *ENGINES]
    return subprocess.run(command, env=environment(), check=True, capture_output=True, text=True).stdout.split()


def rounds(options: argparse.Namespace, engines: list[str], syntax: str) -> dict[str, list[dict[str, Any]]]:
    """The results by engine, one a round. All engines must have read the same tree."""
    results: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    for _ in range(options.rounds):
        for engine in engines:
            results[engine].append(work(options.python, engine, syntax, options.repeats))
    found = {(result["leaves"], result["digest"]) for rows in results.values() for result in rows}
    if len(found) != 1 or found.pop()[0] != LEAVES:
        raise RuntimeError(f"the engines read different trees, or not {LEAVES} leaves: {results}")
    return results


def table_of(syntax: str, results: dict[str, list[dict[str, Any]]]) -> tuple[list[list[str]], bool]:
    """Rows of the table, and whether a limit is broken."""
    ours, rows, failed = results["trainwright"], [], False
    for engine, runs in results.items():
        times = [f"{statistics.median(run[phase] for run in runs) * 1e3:.2f}" for phase in PHASES]
        ratios = [
            statistics.median(run[phase] / own[phase] for run, own in zip(runs, ours, strict=True)) for phase in PHASES
        ]
        peak = statistics.median(run["peak"] for run in runs)
        cells = [f"{time} ({ratio:.1f})" for time, ratio in zip(times, ratios, strict=True)]
        rows.append([engine, syntax, *cells, f"{peak / 1024:.0f}"])
        if engine != "trainwright":
            failed = failed or ratios[-1] < LIMIT_RATIO or peak < statistics.median(own["peak"] for own in ours)
    return rows, failed


def import_rows(options: argparse.Namespace, engines: list[str]) -> tuple[list[list[str]], bool]:
    """What importing the config module costs, in fresh processes."""
    rows, failed = [], False
    for engine in engines:
        runs = [work(options.python, engine, "import-time", 1) for _ in range(max(7, options.rounds))]
        seconds, loads_torch = statistics.median(run["seconds"] for run in runs), runs[0]["torch"]
        rows.append([f"import {engine}.config", f"{seconds * 1e3:.0f}", "yes" if loads_torch else "no"])
        if engine == "trainwright":
            failed = loads_torch or seconds >= LIMIT_IMPORT_S
    return rows, failed


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has mmengine installed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7, help="repetitions in a process, one more as warm-up")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    options = parser.parse_args()
    engines = installed(options.python)
    print(
        f"{LEAVES} leaves, four levels; not installed: {', '.join(set(ENGINES) - set(engines)) or 'none'}", flush=True
    )
    rows, failed, figures = [], False, {}
    for syntax in ("text", "import"):
        figures[syntax] = rounds(options, engines, syntax)
        lines, broken = table_of(syntax, figures[syntax])
        rows, failed = rows + lines, failed or broken
    print_table(["engine", "syntax", "read ms (times ours)", "dump ms", "both ms", "peak KiB"], rows)
    print()
    lines, broken = import_rows(options, engines)
    print_table(["statement", "ms", "loads torch"], lines)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(failed or broken)


if __name__ == "__main__":
    sys.exit(main())

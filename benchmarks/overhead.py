"""Time per iteration of a bare loop, of Trainwright and of each other engine that is installed.

Each measurement is a process of its own. The engines take turns, round after round, so that whatever else the machine
does falls on all of them; a row is the median over the rounds, and "over bare" the median of the differences within a
round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from common import LOG_EVERY, WARMUP, print_table
from engines import ENGINES, PACKAGES

# Rows that are asked for by a flag. The accumulating ones are compared with each other.
FUSED = ("trainwright-fused",)
ACCUMULATING = ("bare-accumulating", "trainwright-accumulating")

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"


def environment() -> dict[str, str]:
    """The worker's environment: one thread, and this checkout's package in front."""
    path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def installed(python: str, names: list[str]) -> list[str]:
    """Those of `names` whose package that interpreter can import."""
    code = "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if u.find_spec(n)])"
    packages = sorted({PACKAGES[name] for name in names})
    found = subprocess.run(
        [python, "-c", code, *packages], env=environment(), check=True, capture_output=True, text=True
    ).stdout.split()
    return [name for name in names if PACKAGES[name] in found]


def measure(python: str, name: str, iterations: int) -> dict[str, object]:
    """One run of one engine. Raises RuntimeError with the end of its output when it fails."""
    command = [python, str(HERE / "engines.py"), name, str(iterations)]
    done = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)
    for line in reversed(done.stdout.splitlines()):
        if done.returncode == 0 and line.startswith('{"engine"'):
            result: dict[str, object] = json.loads(line)
            return result
    raise RuntimeError(f"{name} failed (exit status {done.returncode}):\n{(done.stdout + done.stderr)[-2000:]}")


def rounds(
    python: str, names: list[str], iterations: int, repeats: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Microseconds per iteration by engine, one figure a round, and the versions."""
    times: dict[str, list[float]] = {name: [] for name in names}
    versions: dict[str, str] = {}
    for number in range(repeats):
        for name in list(times):
            try:
                result = measure(python, name, iterations)
            except RuntimeError as error:
                print(error, file=sys.stderr)
                del times[name]
                continue
            times[name].append(float(str(result["us"])))
            versions[name] = str(result["version"])
        seen = "  ".join(f"{name} {values[-1]:.0f}" for name, values in times.items())
        print(f"round {number + 1}/{repeats}: {seen}", flush=True)
    return times, versions


def report(times: dict[str, list[float]], versions: dict[str, str]) -> None:
    """Print the table, the least overhead first."""
    over, ratios = {}, {}
    for name, values in times.items():
        base = times["bare-accumulating" if name in ACCUMULATING and "bare-accumulating" in times else "bare"]
        over[name] = statistics.median(value - other for value, other in zip(values, base, strict=True))
        ratios[name] = statistics.median(value / other for value, other in zip(values, base, strict=True))
    rows = []
    for name in sorted(over, key=lambda name: (name in ACCUMULATING, not name.startswith("bare"), over[name])):
        typical, ratio = statistics.median(times[name]), ratios[name]
        extra = "" if name.startswith("bare") else f"{over[name]:+.0f}"
        rows.append([name, versions[name], f"{typical:.0f}", extra, f"{ratio:.2f}"])
    print_table(["engine", "version", "us/iteration", "us over bare", "ratio to bare"], rows)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the other engines installed")
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=5)
    plain = [name for name in ENGINES if name not in (*FUSED, *ACCUMULATING)]
    parser.add_argument("--engines", default=",".join(plain), help="comma-separated; bare is always measured")
    parser.add_argument("--fused", action="store_true", help="also Trainwright with the optimizer's fused step")
    parser.add_argument(
        "--accumulate", action="store_true", help="also four batches a step with clipping, beside the same by hand"
    )
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    options = parser.parse_args()
    more = [*(FUSED if options.fused else ()), *(ACCUMULATING if options.accumulate else ())]
    wanted = list(dict.fromkeys(["bare", *options.engines.split(","), *more]))
    unknown = [name for name in wanted if name not in ENGINES]
    if unknown:
        parser.error(f"no engine {unknown[0]!r}; there are: {', '.join(ENGINES)}")
    names = installed(options.python, wanted)
    missing = [name for name in wanted if name not in names]
    print(
        f"MLP 64-64-10, batch 32, SGD with momentum, one thread, {options.iterations} iterations after {WARMUP} of "
        f"warm-up, loss reported every {LOG_EVERY}; not installed: {', '.join(missing) or 'none'}",
        flush=True,
    )
    times, versions = rounds(options.python, names, options.iterations, options.repeats)
    report(times, versions)
    if options.json:
        options.json.write_text(json.dumps({"us": times, "versions": versions}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

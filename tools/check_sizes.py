"""Size limits of the house: how long a file or a function may be, how many parameters a function may take.

    file         500 lines, everything counted
    function      50 lines from `def` to its last line, its own docstring not counted (it is there for the reader, and
                 should not be cut to make room for code); nested functions count for the function around them too
    parameters     8, not counting `self` or `cls`; `*args` and `**kwargs` count one each

Aim at half of that. A signature that has been published elsewhere, and that callers rely on, can be listed in EXEMPT
with the reason. An entry that is no longer needed is a breach as well, so that the list cannot rot.

Prints every breach, one a line, and exits 1 if there is any. `check_sizes.py [PATH ...]` checks those paths instead.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("src", "tests", "tools", "benchmarks", "configs", "examples")
SKIPPED = "tests/config/corpus"  # input of tests, some of it no Python on purpose
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 50
MAX_PARAMETERS = 8

PUBLISHED = "published MMEngine signature: callers pass these by name"
PUBLISHED_1 = "published signature of MMCV 1.x: callers pass these by name"
# (file, qualified name, which limit) -> why
EXEMPT: dict[tuple[str, str, str], str] = {
    ("src/trainwright/model/fully_sharded.py", "MMFullyShardedDataParallel.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/runner/checkpointing.py", "CheckpointMixin.save_checkpoint", "parameters"): PUBLISHED,
    ("tests/compat/mmengine/test_mme_hooks_early_stopping.py", "test_a_run_ends_early", "lines"): "as above",
    ("src/trainwright/runner/runner.py", "Runner.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/engine/loops/epoch_based.py", "EpochBasedTrainLoop.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/engine/loops/iter_based.py", "IterBasedTrainLoop.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/cli/app.py", "train", "parameters"): "options of a command are its parameters",
    ("src/trainwright/cli/app.py", "run_test", "parameters"): "options of a command are its parameters",
    ("src/trainwright/runner/runner.py", "Runner.__init__", "lines"): "the published signature alone is half of it",
    ("src/trainwright/hooks/checkpoint_hook.py", "CheckpointHook.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/strategies/deepspeed.py", "DeepSpeedStrategy.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/hooks/logger_hook.py", "LoggerHook.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/hooks/profiler_hook.py", "ProfilerHook.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/data/base_dataset.py", "BaseDataset.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/visualization/drawing.py", "Drawing.draw_texts", "parameters"): PUBLISHED,
    ("src/trainwright/visualization/trackers/mlflow.py", "MLflowVisBackend.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/strategies/fsdp.py", "FSDPStrategy.__init__", "parameters"): "keys of a config are parameters",
    ("src/trainwright/compat/mmcv1/runner/hooks/profiler.py", "ProfilerHook.__init__", "parameters"): PUBLISHED_1,
    ("src/trainwright/utils/progressbar.py", "track_parallel_progress", "parameters"): PUBLISHED,
    ("src/trainwright/optim/apex.py", "ApexOptimWrapper.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/trainer/amp.py", "AMPTrainer.__init__", "parameters"): "published signature of detectron2",
    ("src/trainwright/compat/mmcv1/runner/hooks/checkpoint.py", "CheckpointHook.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/compat/mmcv1/runner/hooks/evaluation.py", "EvalHook.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/compat/mmcv1/runner/hooks/evaluation.py", "DistEvalHook.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/compat/mmcv1/runner/hooks/logger/pavi.py", "PaviLoggerHook.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/compat/mmcv1/runner/hooks/logger/text.py", "TextLoggerHook.__init__", "parameters"): PUBLISHED,
    ("src/trainwright/compat/mmcv1/runner/hooks/logger/wandb.py", "WandbLoggerHook.__init__", "parameters"): PUBLISHED,
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Breach:
    """One thing over its limit; `name` is empty for a whole file."""

    path: str
    line: int
    name: str
    limit: str
    text: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.path, self.name, self.limit

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function, bool]]:
    """Yield (qualified name, function, is a method) for every function at any depth."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, Function):
            name = f"{prefix}{child.name}"
            yield name, child, isinstance(node, ast.ClassDef)
            yield from functions(child, f"{name}.")
        else:
            yield from functions(child, prefix)


def code_lines(function: Function) -> int:
    """Lines from `def` to the end, without the docstring's."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def parameter_count(function: Function, is_method: bool) -> int:
    """Parameters that a caller sees."""
    args = function.args
    named = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    bound = 1 if is_method and not static and named else 0
    return len(named) - bound + (args.vararg is not None) + (args.kwarg is not None)


def check_file(file: Path, path: str) -> Iterator[Breach]:
    """Yield every breach in one file, exempt or not."""
    source = file.read_text(encoding="utf-8")
    n_lines = source.count("\n") + (not source.endswith("\n"))
    if n_lines > MAX_FILE_LINES:
        yield Breach(path, 1, "", "lines", f"file has {n_lines} lines (limit {MAX_FILE_LINES})")
    for name, function, is_method in functions(ast.parse(source, filename=path)):
        n_lines, n_params = code_lines(function), parameter_count(function, is_method)
        if n_lines > MAX_FUNCTION_LINES:
            text = f"{name} has {n_lines} lines without its docstring (limit {MAX_FUNCTION_LINES})"
            yield Breach(path, function.lineno, name, "lines", text)
        if n_params > MAX_PARAMETERS:
            text = f"{name} takes {n_params} parameters (limit {MAX_PARAMETERS}; group them in a dataclass)"
            yield Breach(path, function.lineno, name, "parameters", text)


def python_files(places: list[Path]) -> list[Path]:
    """Every .py file in the places, sorted."""
    found: set[Path] = set()
    for place in places:
        found.update([place] if place.is_file() else place.rglob("*.py"))
    return sorted(file for file in found if not file.is_relative_to(ROOT / SKIPPED))


def main(arguments: list[str]) -> int:
    """Check, print, and return the exit status."""
    files = python_files([Path(a).resolve() for a in arguments] or [ROOT / place for place in PLACES])
    paths = {file: file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else str(file) for file in files}
    breaches = [breach for file, path in paths.items() for breach in check_file(file, path)]
    kept = [breach for breach in breaches if breach.key not in EXEMPT]
    needed = {breach.key for breach in breaches}
    stale = [key for key in EXEMPT if key[0] in paths.values() and key not in needed]
    for breach in kept:
        print(breach)
    for path, name, limit in stale:
        print(f"{path}: {name} is exempt from the limit on {limit} but keeps it: take it off EXEMPT in {__file__}")
    if kept or stale:
        print(f"{len(kept) + len(stale)} breach(es) of the size limits in {len(files)} files")
        return 1
    print(f"sizes: {len(files)} files within the limits")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

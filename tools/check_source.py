"""Calls that the package must not make, found in the syntax tree and not in the text.

    torch.load        without a literal `weights_only=True`: a checkpoint is data, nothing in it is run
    pickle.load(s), Unpickler, marshal.load(s), shelve.open, and what calls them: pandas.read_pickle, joblib.load,
    torch.distributed.checkpoint's readers, torch.package, torch.jit.load
                      the same
    numpy.load        without a literal `allow_pickle=False`
    shell=True        goes through a shell
    yaml.load, yaml.unsafe_load, yaml.full_load
                      `yaml.safe_load` reads everything a config needs
    eval, exec, compile
                      only where a config in Python syntax is read
    time.sleep        waiting is done on an event or a file, so that it ends when the reason does
    os._exit, os.system
                      exit and run through the ordinary ways

Names are followed through `import x as y` and `from x import y as z`. ALLOWED lists the exceptions with the reason; an
entry that is no longer needed is a breach. Prints every breach and exits 1 if there is any.
`check_source.py [PATH ...]` checks those paths instead of src/.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FORBIDDEN = {
    "pickle.load": "runs code from the file",
    "pickle.loads": "runs code from the bytes",
    "pickle.Unpickler": "runs code from the file",
    "marshal.load": "runs code from the file",
    "marshal.loads": "runs code from the bytes",
    "shelve.open": "unpickles",
    "pickle._Unpickler": "runs code from the file",
    "pandas.read_pickle": "unpickles",
    "joblib.load": "unpickles",
    "dill.load": "unpickles",
    "cloudpickle.load": "unpickles",
    "torch.jit.load": "runs the program in the file",
    "torch.package.PackageImporter": "runs the program in the file",
    "torch.distributed.checkpoint.load": "unpickles .metadata and what is no tensor",
    "torch.distributed.checkpoint.FileSystemReader": "unpickles .metadata",
    "torch.distributed.checkpoint.format_utils.dcp_to_torch_save": "unpickles .metadata and what is no tensor",
    "torch.hub.load_state_dict_from_url": "may unpickle: fetch the file and read it as a checkpoint",
    "yaml.load": "use yaml.safe_load",
    "yaml.unsafe_load": "use yaml.safe_load",
    "yaml.full_load": "use yaml.safe_load",
    "eval": "runs text as code",
    "exec": "runs text as code",
    "compile": "makes code from text",
    "time.sleep": "wait on an event, with a time limit",
    "os._exit": "skips every clean-up",
    "os.system": "goes through a shell",
}
READER = "a config in Python syntax is a program by definition; it is read only from the file the user names"
# (file or folder ending in "/", call) -> why
ALLOWED: dict[tuple[str, str], str] = {
    ("src/trainwright/config/", "exec"): READER,
    ("src/trainwright/config/", "eval"): READER,
    ("src/trainwright/config/", "compile"): READER,
    ("src/trainwright/data/records.py", "pickle.loads"): (
        "annotations that a process of this run packed, from a private file that no other user can write, as torch's "
        "loader hands samples from process to process; a file from elsewhere never comes there"
    ),
    ("src/trainwright/io/handlers/pickle_handler.py", "pickle.load"): (
        "a pickle that the user named with trusted=True, or reads through the face of an engine that reads them all: "
        "then with a warning that names the file; otherwise it is refused"
    ),
    ("src/trainwright/checkpoint/trusted.py", "torch.load"): (
        "the file that the user named with trusted=True, and no other; nothing falls back to it"
    ),
    ("src/trainwright/dist/together.py", "os._exit"): "nothing else ends a process that a collective holds",
    ("src/trainwright/runner/preemption.py", "os._exit"): "a deadline holds whatever the process is doing",
    ("src/trainwright/runner/watchdog.py", "os._exit"): "the main thread of a run that hangs does not come back",
    ("src/trainwright/data/workers.py", "os._exit"): "as torch ends a worker that its loader has told to end",
    ("src/trainwright/testing/", "os._exit"): "a forked rank must not run the exit handlers of its parent",
}


class Calls(ast.NodeVisitor):
    """Collects the calls of one module with their full names."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.calls: list[tuple[str, ast.Call]] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.names[alias.asname or alias.name.partition(".")[0]] = (
                alias.name if alias.asname else alias.name.partition(".")[0]
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.names[alias.asname or alias.name] = f"{node.module}.{alias.name}" if not node.level else alias.name

    def visit_Call(self, node: ast.Call) -> None:
        name = self.full_name(node.func)
        if name:
            self.calls.append((name, node))
        self.generic_visit(node)

    def full_name(self, node: ast.expr) -> str:
        """Dotted name with imports followed, or "" for anything that is not a plain name."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            owner = self.full_name(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return ""


def says(call: ast.Call, name: str, value: bool) -> bool:
    """True for a call with the literal `name=value`."""
    return any(k.arg == name and isinstance(k.value, ast.Constant) and k.value.value is value for k in call.keywords)


def check_file(file: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line, call, reason) for each forbidden call."""
    calls = Calls()
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    for node in ast.walk(tree):  # imports first: a function may stand above the import that names what it calls
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            calls.visit(node)
    calls.visit(tree)
    for name, call in calls.calls:
        name = name.removeprefix("builtins.")
        if name in FORBIDDEN:
            yield call.lineno, name, FORBIDDEN[name]
        elif name in ("torch.load", "torch.serialization.load") and not says(call, "weights_only", True):
            yield call.lineno, "torch.load", "say weights_only=True"
        elif name == "numpy.load" and not says(call, "allow_pickle", False):
            yield call.lineno, name, "say allow_pickle=False"
        elif says(call, "shell", True):
            yield call.lineno, f"{name}(shell=True)", "goes through a shell"


def allowed_by(path: str, call: str) -> tuple[str, str] | None:
    """The ALLOWED entry that covers this call, if any."""
    for place, name in ALLOWED:
        if name == call and (path == place or (place.endswith("/") and path.startswith(place))):
            return place, name
    return None


def main(arguments: list[str]) -> int:
    """Check, print, and return the exit status."""
    files: list[Path] = []
    for place in [Path(a).resolve() for a in arguments] or [ROOT / "src"]:
        files += [place] if place.is_file() else sorted(place.rglob("*.py"))
    used: set[tuple[str, str]] = set()
    breaches: list[str] = []
    for file in files:
        path = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else str(file)
        for line, call, reason in check_file(file):
            entry = allowed_by(path, call)
            if entry:
                used.add(entry)
            else:
                breaches.append(f"{path}:{line}: {call}: {reason}")
    if not arguments:
        breaches += [
            f"ALLOWED {place}: {call} is no longer needed" for place, call in ALLOWED if (place, call) not in used
        ]
    print(*breaches, sep="\n", end="\n" if breaches else "")
    print(f"source: {len(files)} files, {len(breaches)} forbidden call(s)")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

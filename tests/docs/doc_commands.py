"""Command lines that a page shows and that no test can run: each is read by the parser that would read it."""

import argparse
import contextlib
import functools
import importlib.util
import io
import re
import shlex
import subprocess
from pathlib import Path

from doc_blocks import ROOT

# A block with one of these is never run: they need a cluster, a network, or a whole checkout.
NEVER_RUN = ("apt-get", "git", "make", "mpirun", "pip", "ray", "sbatch", "scontrol", "srun", "torchrun")
_ELSEWHERE = ("--nnodes", "--rdzv-endpoint", "--node-rank")
_WRAPPERS = ("srun", "mpirun", "timeout", "exec")
_SHELL = ("[", "cat", "cd", "cp", "echo", "export", "git", "grep", "head", "ls", "mkdir", "rm", "scontrol", "tail")
_ENDS = {"&&", "||", ";", "|", "&"}
_ANY_CONFIG = ("diff", "migrate", "show", "tree")  # commands that take a config with mistakes, or a part of one


class NotRight(AssertionError):
    """A command line that its program would refuse, or whose files are not there."""


def commands(text):
    """The commands of a script, each as its words, without variables that are set before it."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, "#"
        words = []
        for word in [*lexer, ";"]:
            if word in _ENDS:
                found += [words] if words else []
                words = []
            elif words or not re.match(r"^\w+=", word):
                words.append(word)
    return found


def cannot_be_run(text):
    """Whether a script holds a command that is only ever parsed."""
    for words in commands(text):
        if program_of(words) in NEVER_RUN or words[1:3] in (["-m", "venv"], ["-m", "pip"]):
            return True
        if any(word.partition("=")[0] in _ELSEWHERE for word in words):
            return True
        if "--launcher" in words and words[words.index("--launcher") + 1] in ("slurm", "mpi", "ray"):
            return True
    return False


def program_of(words):
    """`trainwright` for `.venv/bin/trainwright`, `python` for `python3`."""
    name = Path(words[0]).name
    return "python" if re.fullmatch(r"python[\d.]*", name) else name


def check(words):
    """Refuse the words of a command as its program would."""
    program, rest = program_of(words), words[1:]
    if program in _WRAPPERS:
        inner = [n for n, word in enumerate(rest) if program_of([word]) in ("trainwright", "python", "torchrun")]
        if not inner:
            raise NotRight(f"{program} starts neither trainwright nor python nor torchrun: {shlex.join(words)}")
        check(rest[inner[0] :])
    elif program in _CHECKS:
        _CHECKS[program](rest)
    elif program not in _SHELL:
        raise NotRight(f"nothing is known of the program {program!r}: {shlex.join(words)}")


def check_trainwright(arguments):
    """By its own parser; a config that is named must be without problems."""
    import typer

    from trainwright.cli.app import app
    from trainwright.cli.arguments import normalised

    command, arguments = typer.main.get_command(app), normalised(arguments)
    context = command.make_context("trainwright", list(arguments))
    while hasattr(command, "commands"):
        rest = [*getattr(context, "_protected_args", []), *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    values = context.params
    for name, value in values.items():
        if name in ("config", "checkpoint", "file", "path", "step_dir", "run", "run_dir") and isinstance(value, str):
            _must_exist(value)
    if isinstance(values.get("config"), str) and context.command.name not in _ANY_CONFIG:
        _check_config(values["config"], values.get("cfg_options") or [])


def _check_config(path, options):
    from trainwright.cli.settings import load
    from trainwright.runner.check import validate

    found = [problem for problem in validate(load(path, None, "none", options)) if problem.level == "error"]
    if found:
        raise NotRight("\n".join(f"{problem.origin}: {problem.key}: {problem.message}" for problem in found))


def check_python(arguments):
    """A script that is there, or a module that is, which know the options."""
    if arguments[0] != "-m":
        _must_exist(arguments[0])
        check_help(["python", arguments[0]], arguments[1:])
        return
    module, rest = arguments[1], arguments[2:]
    if module in ("pip", "pytest", "venv"):
        _CHECKS.get(module, lambda rest: None)(rest)
    elif importlib.util.find_spec(module) is None:
        raise NotRight(f"there is no module {module!r}")
    elif module == "trainwright":
        check_trainwright(rest)
    elif module == "trainwright.compat":
        check_compat(rest)
    else:
        check_help(["python", "-m", module], rest)


def check_compat(arguments):
    """Faces that there are, and behind the -- a program of the page."""
    from trainwright.compat.faces import face

    place = arguments.index("--")
    for name in arguments[:place]:
        face(name)
    rest = arguments[place + 1 :]
    _must_exist(rest[0] if rest[0] != "-m" else f"{rest[1].replace('.', '/')}.py")


def check_help(program, arguments):
    """Each option must be in what the program says to --help."""
    options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    if not options:
        return
    said = help_of(*program)
    for option in options:
        if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", said):
            raise NotRight(f"{shlex.join(program)} has no option {option}: {said}")


@functools.cache
def help_of(*program):
    done = subprocess.run([*program, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def check_torchrun(arguments):
    from torch.distributed.run import get_args_parser

    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            found = get_args_parser().parse_args(arguments)
        except (SystemExit, argparse.ArgumentError) as error:
            raise NotRight(said.getvalue()) from error
    check_python([*(["-m"] if found.module else []), found.training_script, *found.training_script_args])


def check_make(arguments):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for word in arguments:
        if "=" not in word and word not in targets:
            raise NotRight(f"make has no target {word!r}")


def check_pip(arguments):
    """Extras are those of the package; a file of constraints is there."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    known = re.findall(r"^([\w-]+) = \[", text.partition("\n[project.scripts]")[0], re.MULTILINE)
    for word in arguments[1:]:
        wanted = re.fullmatch(r"(?:trainwright|\.|<.*>)\[([\w,]+)\]", word)
        for extra in wanted.group(1).split(",") if wanted else []:
            if extra not in known:
                raise NotRight(f"there is no extra {extra!r}: {', '.join(known)}")
    for option, value in zip(arguments, arguments[1:], strict=False):
        if option == "-c" and not (ROOT / value).exists():
            raise NotRight(f"there is no file {value}")


def _must_exist(path):
    if "://" not in path and not Path(path).exists():
        raise NotRight(f"{path} is not among the files of the page")


_CHECKS = {
    "trainwright": check_trainwright,
    "python": check_python,
    "torchrun": check_torchrun,
    "make": check_make,
    "pip": check_pip,
    "sbatch": lambda arguments: _must_exist(arguments[-1]),
}

"""Runs the blocks of one page in their order, in the folder that is current. Called in a process of its own.

Python blocks share a namespace. Settings of a config are put into a whole one and checked; whole ones are built.
"""

import ast
import doctest
import inspect
import json
import os
import re
import subprocess
import sys
import time
import traceback
import types
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import doc_commands
from doc_blocks import ROOT, Block, fenced, is_config_file, is_settings, twice

WHOLE = "configs/digits/cnn.py"  # what settings are put into


class Failed(Exception):
    """A block did not do what its page says."""


@dataclass
class Page:
    """What the blocks of a page have in common."""

    name: str
    module: types.ModuleType
    claimed: list[str]
    named: dict[str, Block] = field(default_factory=dict)
    used: str = ""  # texts in which a file of the page may be named


def run(plan):
    """The blocks of the page that `plan` names; the exit code. Writes how each was tested, as JSON lines."""
    settings = json.loads(Path(plan).read_text(encoding="utf-8"))
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    page = Page(settings["page"], module, settings["claimed"])
    report = Path(plan).with_name("report.jsonl")
    if settings["setup"]:
        before = Path(settings["setup"])
        exec(compile(before.read_text(encoding="utf-8"), str(before), "exec"), vars(module))
    with report.open("w", encoding="utf-8") as tested:
        for block in blocks_to_run(page.name):
            began = time.perf_counter()
            try:
                how = run_block(page, block)
            except BaseException as error:  # noqa: BLE001 - what the page shows has ended so, and the test says where
                return failed(f"{block.place}: this block failed", error)
            tested.write(json.dumps([block.line, how, round(time.perf_counter() - began, 2)]) + "\n")
            tested.flush()
        try:
            left_files(page, tested)
        except BaseException as error:  # noqa: BLE001 - as above
            return failed(f"{page.name}: a file of the page failed", error)
    return 0


def failed(what, error):
    traceback.print_exc()
    sys.stderr.write(f"\n{what}: {type(error).__name__}: {error}\n")
    return 1


def blocks_to_run(name):
    return [block for block in fenced(name) if block.language != "text"]


def run_block(page, block):
    """Gives how it was tested, in one word or two."""
    if block.file:
        path = Path(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        page.named[block.file] = block
        return "written"
    return LANGUAGES[block.language](page, block)


# -- Python ------------------------------------------------------------------------------------------------------------
def run_python(page, block):
    from trainwright.runner.spec import NAMES

    if is_settings(block.text, (*NAMES, "custom_imports")):
        if twice(block.text):
            raise Failed(f"{', '.join(twice(block.text))} is set twice: make two blocks of it")
        check_settings(block)
        return "checked settings"
    if block.order == "parse":
        check_calls(ast.parse(block.text))
        return "parsed"
    page.used += block.text
    code = compile("\n" * (block.line - 1) + block.text, str(ROOT / page.name), "exec")
    wanted = block.order and block.order.removeprefix("raises ")
    try:
        exec(code, vars(page.module))
    except Exception as error:
        if wanted not in [kind.__name__ for kind in type(error).__mro__]:
            raise
        return "raised"
    if wanted:
        raise Failed(f"it was to raise {wanted}")
    return "run"


def check_calls(tree):
    """Import what the program imports, and see that what it calls of that would take the arguments."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            exec(compile(ast.Module([node], []), "<imports>", "exec"), known)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    for call in names:
        if call.func.id in known:
            keywords = {word.arg: None for word in call.keywords if word.arg}
            inspect.signature(known[call.func.id]).bind(*([None] * len(call.args)), **keywords)


def check_settings(block):
    """Put them into a whole config, in place of what is there, and look for what is wrong."""
    from trainwright.config import Config

    suffix = {"python": "py", "yaml": "yaml"}[block.language]
    path = Path(f"settings_{block.line}.{suffix}")
    path.write_text(block.text, encoding="utf-8")
    given = Config.fromfile(str(path))
    cfg = Config.fromfile(WHOLE)
    for name in given:
        cfg[name] = given[name]
    cfg.work_dir = "work_dirs/settings"
    refuse_problems(cfg)


def refuse_problems(cfg):
    from trainwright.runner.check import validate

    found = [problem for problem in validate(cfg) if problem.level == "error"]
    if found:
        raise Failed("\n".join(f"{problem.key}: {problem.message}" for problem in found))


def run_pycon(page, block):
    test = doctest.DocTestParser().get_doctest(block.text, vars(page.module), block.place, block.page, block.line - 1)
    test.globs = vars(page.module)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    if runner.run(test, clear_globs=False).failed:
        raise Failed("the output is another one")
    return "run"


# -- command lines -----------------------------------------------------------------------------------------------------
def run_bash(page, block):
    page.used += block.text
    if block.order == "parse" or doc_commands.cannot_be_run(block.text):
        for words in doc_commands.commands(block.text):
            doc_commands.check(words)
        return "parsed"
    in_bash(block, block.text)
    return "run"


def in_bash(block, script):
    """What it writes. It must end with status 0, or with that which the page names."""
    told = block.order if block.order and block.order.startswith("exits") else "exits 0"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, "DOCS_BRIEFLY": "1"} if block.order == "briefly" else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    sys.stderr.write(done.stdout)
    if f"exits {done.returncode}" != told:
        raise Failed(f"status {done.returncode}: {script}")
    return done.stdout


def run_console(page, block):
    """Lines with a `$` are commands; those below are lines of what the command says, in this order. `...`: anything."""
    if not block.text.startswith("$ "):
        raise Failed("a console begins with a command behind a `$ `; what is only said is a block of text")
    for shown in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        script, _, output = shown.partition("\n")
        while script.endswith("\\"):
            line, _, output = output.partition("\n")
            script = f"{script}\n{line}"
        page.used += f"{script}\n"
        if block.order == "parse":
            for words in doc_commands.commands(script):
                doc_commands.check(words)
            continue
        said = iter(in_bash(block, script).splitlines())
        for line in output.splitlines():
            pattern = ".*".join(map(re.escape, line.rstrip().split("...")))
            if line.strip() and not any(re.fullmatch(pattern, one.rstrip()) for one in said):
                raise Failed(f"the command does not say: {line}")
    return "parsed" if block.order == "parse" else "run"


# -- plain data --------------------------------------------------------------------------------------------------------
def run_yaml(page, block):
    import yaml

    from trainwright.runner.spec import NAMES

    found = yaml.safe_load(block.text)
    if isinstance(found, dict) and set(found) <= set(NAMES):
        check_settings(block)
        return "checked settings"
    return "read"


def run_json(page, block):
    json.loads(block.text)
    return "read"


LANGUAGES = {"python": run_python, "pycon": run_pycon, "bash": run_bash, "console": run_console}
LANGUAGES |= {"yaml": run_yaml, "json": run_json}


# -- files that nothing on the page has run ----------------------------------------------------------------------------
def left_files(page, tested):
    """Each file of a page is used by a block, or by a file that is; the others are run here, or built."""
    used = {name for name in page.named if is_named(name, page.used)}
    while True:
        text = "".join(page.named[name].text.partition("\n")[2] for name in used)
        more = {name for name in page.named if is_named(name, text)} - used
        if not more:
            break
        used |= more
    for name, block in page.named.items():
        began = time.perf_counter()
        how = "run" if name in used else "run elsewhere" if name in page.claimed else left_file(name, block)
        tested.write(json.dumps([block.line, how, round(time.perf_counter() - began, 2)]) + "\n")


def is_named(file, text):
    """Whether a file is named in a text, or imported there."""
    if re.search(rf"(?<![\w./-])(\./)?{re.escape(file)}(?![\w-])", text):
        return True
    module = file.removesuffix(".py").replace("/", ".")
    last = module.rpartition(".")[2]
    return file.endswith(".py") and bool(
        re.search(rf"(from|import) +\.*({re.escape(module)}|{re.escape(last)})\b|-m {re.escape(module)}\b", text)
    )


def left_file(name, block):
    if name.endswith(".py") and not is_config_file(block.text):
        in_bash(block, f"python {name}")
        return "run"
    if name.endswith((".py", ".yaml", ".yml", ".json")):
        read_config(name)
        return "read"
    in_bash(block, f"bash {name}")
    return "run"


def read_config(name):
    """A whole one is built too, and every part of it tried on one batch."""
    from trainwright.config import Config
    from trainwright.runner import Runner

    cfg = Config.fromfile(name)
    if not {"model", "train_dataloader", "optim_wrapper", "train_cfg"} <= set(cfg):
        return
    cfg.work_dir, cfg.fast_dev_run = "work_dirs/built", True
    Runner.from_cfg(cfg).train()

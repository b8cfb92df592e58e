"""The blocks of code of a page, and what is to become of each of them when the page is tested."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Languages of which nothing is run: what a program has said, a drawing, a file of another program.
TEXT = ("text",)
RUN = ("python", "pycon", "bash", "console", "yaml", "json")

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})(.*)$")
_TITLE = re.compile(r'title="([^"]+)"')
_FILE = re.compile(r"^# ([\w./-]+\.(?:py|yaml|yml|sh))\s*$")
_ORDER = re.compile(r"^ *<!-- test: (.+?) -->\s*$")
_LIST = re.compile(r"^ *([-*+]|\d+\.) ")
ORDERS = re.compile(r"^(parse|briefly|exits \d+|raises \w+)$")


@dataclass(frozen=True)
class Block:
    """One fenced block: `line` is that of its first line of code, counted from 1."""

    page: str
    line: int
    language: str
    text: str
    file: str | None = None
    order: str | None = None

    @property
    def place(self):
        return f"{self.page}:{self.line}"


def pages():
    """All pages for people, by their paths in the repository."""
    found = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
    return ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", *found]


def fenced(page, text=None):
    """The fenced blocks of a page, from its text or as it is in the repository."""
    lines = ((ROOT / page).read_text(encoding="utf-8") if text is None else text).splitlines()
    found, order, n = [], None, 0
    while n < len(lines):
        opened = _FENCE.match(lines[n])
        if opened is None:
            told = _ORDER.match(lines[n])
            if told or lines[n].strip():
                order = told and told.group(1)
            n += 1
            continue
        indent, fence, info = opened.groups()
        first = n = n + 1
        while lines[n].strip() != fence:
            n += 1
        body = [line.removeprefix(indent) for line in lines[first:n]]
        found.append(_block(page, first + 1, info, "".join(f"{line}\n" for line in body), order))
        order = None
        n += 1
    return found


def _block(page, line, info, text, order):
    title, named = _TITLE.search(info), _FILE.match(text.partition("\n")[0])
    file = title.group(1) if title else named.group(1) if named else None
    return Block(page, line, info.split(" ")[0].strip(), text, file, order)


def indented(page, text=None):
    """The lines at which an indented block of code begins, outside of fences and lists."""
    lines = ((ROOT / page).read_text(encoding="utf-8") if text is None else text).splitlines()
    found, fence, after_blank, in_list, in_code = [], None, True, False, False
    for n, line in enumerate(lines, 1):
        edge = _FENCE.match(line)
        if fence is not None or edge:
            in_list = in_list and line.startswith(" ") if edge else in_list
            fence = (edge.group(2) if fence is None else None) if edge else fence
            after_blank = False
            continue
        if line.strip() and not line.startswith(" "):
            in_list = False
        in_list = in_list or bool(_LIST.match(line))
        if line.strip():
            is_code = line.startswith("    ") and not in_list and (after_blank or in_code)
            found += [n] if is_code and not in_code else []
            in_code = is_code
        after_blank = not line.strip()
    return found


def problems(block):
    """Why a block cannot be tested as it stands; empty when it can."""
    if block.language not in (*TEXT, *RUN):
        return [f"{block.place}: name one of the languages {', '.join((*RUN, *TEXT))}, not {block.language!r}"]
    if block.order and not ORDERS.match(block.order):
        return [f"{block.place}: `test: {block.order}` is none of: parse, briefly, exits N, raises NAME"]
    return []


def is_settings(text, names):
    """Whether Python is nothing but settings of a config: plain values given to some of the names."""
    try:
        statements = ast.parse(text).body
    except SyntaxError:
        return False
    return bool(statements) and all(
        isinstance(one, ast.Assign)
        and len(one.targets) == 1
        and isinstance(one.targets[0], ast.Name)
        and one.targets[0].id in names
        and _is_plain(one.value)
        for one in statements
    )


def _is_plain(value):
    for node in ast.walk(value):
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id == "dict"):
            return False
        if isinstance(node, ast.Name) and node.id != "dict":
            return False
    return not isinstance(value, ast.Name)


def twice(text):
    """Names that settings set more than once: all but the last setting would go untested."""
    names = [one.targets[0].id for one in ast.parse(text).body]
    return sorted({name for name in names if names.count(name) > 1})


def is_config_file(text):
    """Whether a Python file defines nothing and runs nothing, so that it can only be a config."""
    kinds = (ast.Assign, ast.AugAssign, ast.Import, ast.ImportFrom, ast.With)
    bodies = ast.parse(text).body
    calls = [one for one in bodies if isinstance(one, ast.Expr) and not isinstance(one.value, ast.Constant)]
    merges = [one for one in calls if ".update(" in ast.unparse(one)]
    return len(calls) == len(merges) and all(isinstance(one, (*kinds, ast.Expr)) for one in bodies)

"""What `mkdocs build` adds to docs/: the reference of every room's public names, and the files that pages link to.

MkDocs calls the functions whose names begin with `on_`. A page of the repository that lies outside of docs/ gets a
place under `repository/`, and links are written anew: one that holds on a code host holds on the site too.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "trainwright"
OUTSIDE = "repository"
_LINK = re.compile(r"(\]\()([^)\s#]*)(#[^)\s]*)?(\))")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


# -- the reference -----------------------------------------------------------------------------------------------------
def rooms() -> dict[str, list[str]]:
    """The public names of each room by its module, from the bottom of the package up: what its `__all__` lists.

    Faces are left out, since their names are those of other engines. A package in a room counts where it is public.
    """
    found = {}
    for init in sorted(PACKAGE.rglob("__init__.py")):
        parts = init.parent.relative_to(PACKAGE.parent).parts
        if "compat" in parts or any(part.startswith("_") for part in parts):
            continue
        module = import_module(".".join(parts))
        names = list(getattr(module, "__all__", []))
        if names:
            found[".".join(parts)] = names
    return found


def home_of(value: Any) -> str | None:
    """Where the source of a class or function of ours stands, as `module.Name`; None for a value."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or "<" in name:
        return None
    if module.split(".")[0] != "trainwright" or not _written_in(module, name):
        return None
    return f"{module}.{name}"


def _written_in(module: str, name: str) -> bool:
    """Whether a `class` or `def` of that name is in the file: one that a call has made has no place."""
    path = PACKAGE.parent / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    head = name.partition(".")[0]
    return bool(re.search(rf"^\s*(?:class|(?:async )?def) {head}\b", path.read_text(encoding="utf-8"), re.MULTILINE))


def reference(room: str, names: list[str], told: Mapping[str, str]) -> str:
    """The page of a room. `told`: the room on whose page each class or function is described."""
    module = import_module(room)
    described, elsewhere, values = [], [], []
    for name in sorted(names, key=str.lower):
        value = getattr(module, name)
        home = home_of(value)
        if home is None:
            values.append(f"| `{name}` | `{_brief(value)}` |")
        elif told[home] == room and f"::: {home}\n" not in described:
            described.append(f"::: {home}\n")
        else:
            elsewhere.append(f"[`{name}`][{home}]")
    lines = [f"# {room}", "", (module.__doc__ or "").strip(), ""]
    if elsewhere:
        lines += [f"Also here: {', '.join(elsewhere)}.", ""]
    if values:
        lines += ["| name | value |", "|---|---|", *values, ""]
    return "\n".join([*lines, *described])


def _brief(value: Any) -> str:
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(value).split())).replace("|", "/").replace("`", "'")
    return text if len(text) <= 100 else f"{text[:97]}..."


def places(found: Mapping[str, list[str]]) -> dict[str, str]:
    """The room on whose page each class or function is described: that in which it is written, else the first."""
    told: dict[str, str] = {}
    for room, names in found.items():
        module = import_module(room)
        for name in names:
            home = home_of(getattr(module, name))
            if home and (home not in told or len(room) > len(told[home]) and home.startswith(f"{room}.")):
                told[home] = room
    return told


def reference_pages() -> dict[str, str]:
    """The text of each page of the reference by its place in docs/."""
    found = rooms()
    told = places(found)
    return {page_of(room): reference(room, names, told) for room, names in found.items()}


def page_of(room: str) -> str:
    return f"api/{room.partition('.')[2] or 'trainwright'}.md"


# -- links -------------------------------------------------------------------------------------------------------------
def place_of(path: str) -> str:
    """Where a file of the repository is on the site, by its path in docs/."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{OUTSIDE}/{path if path.endswith('.md') else path + '.md'}"


def path_of(place: str) -> str:
    """The other way round, for a page."""
    outside = place.removeprefix(f"{OUTSIDE}/")
    return outside if outside != place else f"docs/{place}"


def links_of(text: str) -> Iterator[re.Match[str]]:
    """The links of a page to files of the repository, which no code holds."""
    for n, part in enumerate(_CODE.split(text)):
        if n % 2 == 0:
            yield from (link for link in _LINK.finditer(part) if link.group(2) and "://" not in link.group(2))


def linked_outside() -> set[str]:
    """The files outside of docs/ that the site shows: those that its pages link to, and those that these link to."""
    waiting = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    seen = set(waiting)
    while waiting:
        page = waiting.pop()
        if not page.endswith(".md"):
            continue
        for link in links_of((ROOT / page).read_text(encoding="utf-8")):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link.group(2)))
            if path not in seen and (ROOT / path).is_file():
                seen.add(path)
                waiting.append(path)
    return {path for path in seen if not path.startswith("docs/")}


def with_links(text: str, place: str) -> str:
    """A page whose links lead to where things are on the site."""
    folder = posixpath.dirname(path_of(place))

    def anew(link: re.Match[str]) -> str:
        head, target, heading, tail = link.groups()
        if not target or "://" in target or target.startswith("mailto:"):
            return link.group(0)
        there = place_of(posixpath.normpath(posixpath.join(folder, target)))
        return f"{head}{posixpath.relpath(there, posixpath.dirname(place) or '.')}{heading or ''}{tail}"

    return "".join(part if n % 2 else _LINK.sub(anew, part) for n, part in enumerate(_CODE.split(text)))


def outside_page(path: str) -> str:
    """A page with a file in it; one that is a page already stays as it is."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    language = "python" if path.endswith(".py") else "text"
    return f"# {path}\n\n```{language}\n{text}```\n"


# -- what MkDocs calls -------------------------------------------------------------------------------------------------
def on_config(config: Any) -> Any:
    """Put the tutorials and the pages of the reference into the navigation."""
    for entry in config.nav:
        if "Tutorials" in entry:
            entry["Tutorials"] = tutorials()
        if "Reference" in entry:
            entry["Reference"] = [{"Rooms": entry["Reference"]}, *({room: page_of(room)} for room in rooms())]
    return config


def tutorials() -> list[str]:
    """The tutorials, in the order in which they are best read; one that has no place there comes last."""
    first = ["config", "hooks", "evaluation", "resume", "strategies", "gans"]
    first += ["migration-mmengine", "migration-mmcv1", "migration-detectron2"]
    names = [path.stem for path in (ROOT / "docs" / "tutorials").glob("*.md")]
    names.sort(key=lambda name: (first.index(name) if name in first else len(first), name))
    return [f"tutorials/{name}.md" for name in names]


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File

    pages = {place_of(path): outside_page(path) for path in linked_outside()} | reference_pages()
    for place, text in sorted(pages.items()):
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    place = page.file.src_uri
    return markdown if place.startswith("api/") and place != "api/index.md" else with_links(markdown, place)

"""Looks through a built site for what a browser would fetch from elsewhere, and for pages that are missing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

# The attributes by which a page brings in something that is not a link to click on.
_FETCHING = {"src", "srcset", "poster", "data"}
_LINKED = {"stylesheet", "preload", "preconnect", "dns-prefetch", "icon", "modulepreload", "manifest"}
_OUTSIDE = re.compile(r"^(https?:)?//", re.IGNORECASE)
_IN_STYLE = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)


class _Fetched(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._in_style = tag == "style"
        fetched = [value for name, value in values.items() if name in _FETCHING]
        if tag == "link" and _LINKED & set(values.get("rel", "").split()):
            fetched.append(values.get("href", ""))
        self.found += [value for value in fetched if _OUTSIDE.match(value.strip())]
        self.found += _IN_STYLE.findall(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.found += _IN_STYLE.findall(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False


def fetched_from_elsewhere(site: Path) -> Iterator[str]:
    """`file: address` for each address outside of the site that a page or a style sheet brings in."""
    for path in sorted(site.rglob("*")):
        if path.suffix == ".html":
            page = _Fetched()
            page.feed(path.read_text(encoding="utf-8"))
            found = page.found
        elif path.suffix == ".css":
            found = _IN_STYLE.findall(path.read_text(encoding="utf-8"))
        else:
            continue
        yield from (f"{path.relative_to(site)}: {address}" for address in found)


def missing(site: Path) -> Iterator[str]:
    """What the search needs to work from a disk, and the home."""
    for name in ("index.html", "search/search_index.json", "search/search_index.js"):
        if not (site / name).is_file():
            yield f"{name} is missing"


def main(folder: str) -> int:
    site = Path(folder)
    wrong = [*missing(site), *fetched_from_elsewhere(site)]
    for line in wrong:
        print(line)
    print(f"site: {sum(1 for _ in site.rglob('*.html'))} pages, {len(wrong)} thing(s) wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

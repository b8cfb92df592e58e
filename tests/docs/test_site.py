"""The site has every page and every public name, and its links hold on a code host and on the site."""

import copy
import importlib.util
import re
import sys
from types import SimpleNamespace

import pytest
import yaml
from doc_blocks import ROOT


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site_pages, check_site = tool("site_pages"), tool("check_site")
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def reference():
    return site_pages.reference_pages()


def pages_in(nav):
    for entry in nav:
        for target in [entry] if isinstance(entry, str) else entry.values():
            yield from pages_in(target) if isinstance(target, list) else [target]


def test_the_navigation_has_every_page():
    config = site_pages.on_config(SimpleNamespace(nav=copy.deepcopy(SETTINGS["nav"])))
    made = {site_pages.page_of(room) for room in site_pages.rooms()}
    listed = list(pages_in(config.nav))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    outside = {site_pages.place_of(path) for path in site_pages.linked_outside() if path.endswith(".md")}
    assert len(set(listed)) == len(listed)
    assert set(listed) == there | outside | made


def test_nothing_is_fetched_for_the_look_of_it():
    theme = SETTINGS["theme"]
    assert (theme["name"], theme["font"]) == ("material", False)
    assert "offline" in SETTINGS["plugins"]
    assert SETTINGS["strict"] is True
    assert not {"extra_css", "extra_javascript"} & set(SETTINGS)


def test_every_public_name_is_in_the_reference(reference):
    found = site_pages.rooms()
    assert {"trainwright", "trainwright.hooks", "trainwright.trainer"} <= set(found)
    assert {site_pages.page_of(room) for room in found} == set(reference)
    for room, names in found.items():
        text = reference[site_pages.page_of(room)]
        for name in names:
            home = site_pages.home_of(getattr(sys.modules[room], name))
            shown = [f"| `{name}` |"] if home is None else [f"::: {home}\n", f"[`{name}`][{home}]"]
            assert any(one in text for one in shown), f"{room}.{name}"


def test_each_class_and_function_is_described_once(reference):
    text = "\n".join(reference.values())
    described = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    referred = re.findall(r"\]\[(trainwright\.\S+?)\]", text)
    assert len(described) == len(set(described)) > 200
    assert set(referred) <= set(described)


@pytest.mark.parametrize(
    ("page", "text", "there"),
    [
        ("tutorials/config.md", "[a](../config.md#x)", "[a](../config.md#x)"),
        ("trainer.md", "[a](../examples/plain_trainer.py)", "[a](repository/examples/plain_trainer.py.md)"),
        ("index.md", "[a](../README.md#b) `[c](d.md)`", "[a](repository/README.md#b) `[c](d.md)`"),
        ("repository/README.md", "[a](docs/config.md), [b](#b)", "[a](../config.md), [b](#b)"),
        ("repository/README.md", "[a](https://a.org/b.md)", "[a](https://a.org/b.md)"),
        ("repository/benchmarks/README.md", "[a](../CHANGELOG.md)", "[a](../CHANGELOG.md)"),
    ],
)
def test_links_lead_to_where_things_are_on_the_site(page, text, there):
    assert site_pages.with_links(text, page) == there


def made(folder, html, css=""):
    (folder / "search").mkdir()
    (folder / "assets").mkdir()
    for name in ("search_index.json", "search_index.js"):
        (folder / "search" / name).write_text("", encoding="utf-8")
    (folder / "index.html").write_text(html, encoding="utf-8")
    (folder / "assets" / "a.css").write_text(css, encoding="utf-8")
    return folder


CLEAN = '<link rel="stylesheet" href="assets/a.css"><a href="https://a.org">a</a><script src="b.js"></script>'


@pytest.mark.parametrize(
    ("html", "css", "found"),
    [
        (CLEAN, "a { background: url(b.png) }", []),
        ('<script src="https://a.org/b.js"></script>', "", ["index.html: https://a.org/b.js"]),
        ('<link href="//a.org/f.css" rel="stylesheet">', "", ["index.html: //a.org/f.css"]),
        ('<link rel="preconnect" href="https://f.org">', "", ["index.html: https://f.org"]),
        ('<img src="http://a.org/b.png">', "", ["index.html: http://a.org/b.png"]),
        ('<style>@import "https://a.org/x.css";</style>', "", ["index.html: https://a.org/x.css"]),
        ("", "@font-face { src: url('https://a.org/f.woff2') }", ["assets/a.css: https://a.org/f.woff2"]),
    ],
)
def test_what_would_be_fetched_from_elsewhere_is_found(tmp_path, capsys, html, css, found):
    site = made(tmp_path, html, css)
    assert list(check_site.fetched_from_elsewhere(site)) == found
    assert check_site.main(str(site)) == bool(found)
    assert capsys.readouterr().out.endswith(f"site: 1 pages, {len(found)} thing(s) wrong\n")


def test_a_site_without_its_search_is_refused(tmp_path, capsys):
    site = made(tmp_path, CLEAN)
    (site / "search" / "search_index.js").unlink()
    assert check_site.main(str(site)) == 1
    assert "search/search_index.js is missing" in capsys.readouterr().out

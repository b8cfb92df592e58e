"""Every block of code of every page runs: nothing can be added to a page without a test."""

import pytest
from doc_blocks import fenced, indented, pages, problems
from doc_run import OWN_TESTS, run_page, serving

PAGES = [page for page in pages() if any(block.language != "text" for block in fenced(page))]


@pytest.fixture(scope="session")
def server():
    with serving() as found:
        yield found


def test_every_block_says_how_it_is_tested():
    """By its language, which is not that of mere text by mistake; no code is outside of a fence."""
    wrong = [problem for page in pages() for block in fenced(page) for problem in problems(block)]
    wrong += [f"{page}:{line}: put this code between fences" for page in pages() for line in indented(page)]
    assert wrong == []
    assert set(OWN_TESTS) <= set(PAGES)


LONG = pytest.mark.conformance  # of tutorials, which train


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=LONG) if page.startswith("docs/tutorials/") else page for page in PAGES]
)
def test_every_block_of_the_page_is_tested(page, tmp_path, server):
    report = run_page(page, tmp_path, server)
    tested = {line for line, how, _ in report if how != "written"}
    assert tested == {block.line for block in fenced(page) if block.language != "text"}

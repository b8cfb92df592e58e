"""What docs/files.md shows runs as it stands, from the top to the bottom."""

from unittest import mock

import fsspec
from docs_pages import blocks_of

from trainwright.io.backends import backends, prefix_to_backends


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(backends), mock.patch.dict(prefix_to_backends):
        try:
            for text in blocks_of("docs/files.md"):
                exec(compile(text, "docs/files.md", "exec"), {"__name__": "files"})
        finally:
            fsspec.filesystem("memory").rm("/bucket", recursive=True)
    assert "scores.pkl is a pickle, and" in capsys.readouterr().out
    assert len(blocks_of("docs/files.md")) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "scores.pkl"]

import sys

import pytest

from trainwright.registry import Registry
from trainwright.registry.scope import import_scope


@pytest.fixture
def tree():
    """A root registry and one child: (root of scope 'trainwright', child of scope 'zoo')."""
    root = Registry("model", scope="trainwright")
    return root, Registry("model", parent=root, scope="zoo")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that writes importable modules; all of them are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    import_scope.cache_clear()

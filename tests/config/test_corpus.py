import copy
import json
import os
import pickle
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
from corpus_ours import ERRORS, PARTS, VALUES
from corpus_tools import CORPUS, SITE, canonical, canonical_tree, corpus_files, prepare_environment, text_of
from make_expected import EXPECTED, make_expected

from trainwright.base.errors import ConfigError
from trainwright.config import Config

FILES = corpus_files()
READABLE = [inner for inner in FILES if inner not in ERRORS]
MMENGINE = json.loads(EXPECTED.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """The environment and the installed packages that the expected results were made with."""
    environ = dict(os.environ)
    prepare_environment(environ)
    for name in set(os.environ) - set(environ):
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(SITE))


def read(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated configs, custom imports that may fail
        return Config.fromfile(str(path), **options)


def tree_of(cfg):
    return canonical_tree(cfg.to_dict())


def without_notes(text):
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def at(tree, dotted):
    for part in dotted.split("."):
        tree = tree[int(part)] if isinstance(tree, list) else tree[part]
    return tree


# -- the corpus itself -------------------------------------------------------------------------------------------------
def test_the_corpus_is_complete():
    assert len(FILES) >= 250
    assert sorted(MMENGINE) == FILES, "run tests/config/make_expected.py"
    ours = [*VALUES, *PARTS, *ERRORS]
    assert len(ours) == len(set(ours))
    assert set(ours) <= set(FILES)
    failed = {inner for inner, result in MMENGINE.items() if isinstance(result, str)}
    assert failed <= set(ours), "what MMEngine cannot read needs a result of ours"


def test_most_of_the_corpus_is_what_mmengine_reads():
    ours = {*VALUES, *PARTS, *ERRORS}
    assert sum(inner not in ours for inner in FILES) >= 200


def test_the_canonical_form_tells_values_apart():
    values = [1, 1.0, True, "1", None, "None", [1], (1,), {1}, frozenset({1}), {"1": 1}, {1: 1}, {None: 1}, {(1,): 1}]
    values += [slice(1), slice(None, 1, None), range(1), b"1", float("inf"), float("nan"), -0.0, 0.0, {True: 1}, ...]
    texts = [text_of(canonical(value)) for value in values]
    assert len(set(texts)) == len(texts) - 1  # slice(1) is slice(None, 1, None)


# -- reading -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inner", READABLE)
def test_a_file_of_the_corpus_reads_as_expected(inner):
    tree = tree_of(read(CORPUS / inner))
    if inner in PARTS:
        assert {key: at(tree, key) for key in PARTS[inner]} == canonical(PARTS[inner])
    else:
        expected = canonical(VALUES[inner]) if inner in VALUES else MMENGINE[inner]["value"]
        assert text_of(tree) == text_of(expected)
        if inner not in VALUES:
            assert json.dumps(tree) == json.dumps(expected), "the values are equal, their order is not"


@pytest.mark.parametrize("inner", ERRORS)
def test_a_file_that_cannot_be_read_says_where_and_why(inner):
    with pytest.raises(ConfigError) as info:
        read(CORPUS / inner)
    message = str(info.value)
    assert [word for word in ERRORS[inner] if word.lower() not in message.lower()] == [], message
    assert info.value.filename is not None
    assert info.value.lineno is not None


# -- writing -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inner", READABLE)
def test_what_was_read_is_written_and_read_back(inner, tmp_path):
    cfg = read(CORPUS / inner)
    first = tmp_path / "first.py"
    cfg.dump(str(first))
    again = read(first)
    assert text_of(tree_of(again)) == text_of(tree_of(cfg))
    assert cfg.pretty_text == first.read_text(encoding="utf-8")
    # the comment at the top lists what a text cannot hold, such as a function: the second time there is none
    assert without_notes(again.pretty_text) == without_notes(cfg.pretty_text)


@pytest.mark.parametrize("inner", READABLE)
def test_copies_are_equal(inner):
    cfg = read(CORPUS / inner)
    expected = text_of(tree_of(cfg))
    for other in (copy.deepcopy(cfg), copy.copy(cfg), cfg.copy()):
        assert text_of(tree_of(other)) == expected
        assert type(other) is Config
        assert other.pretty_text == cfg.pretty_text
        assert (other.filename, other.text) == (cfg.filename, cfg.text)


# A class that a config makes belongs to no module, so no unpickler could find it.
@pytest.mark.parametrize("inner", [inner for inner in READABLE if inner != "traps/classes_kept.py"])
def test_what_was_read_is_pickled(inner):
    cfg = read(CORPUS / inner)
    assert text_of(tree_of(pickle.loads(pickle.dumps(cfg)))) == text_of(tree_of(cfg))


def test_reading_leaves_nothing_beside_the_files():
    before = sorted(path for path in CORPUS.rglob("*"))
    for inner in READABLE[::10]:
        read(CORPUS / inner)
    assert sorted(path for path in CORPUS.rglob("*")) == before


def test_a_config_is_the_same_from_any_folder(monkeypatch, tmp_path):
    inner = "detection/one_stage/one-stage_l_tta.py"
    expected = text_of(tree_of(read(CORPUS / inner)))
    monkeypatch.chdir(CORPUS / "detection")
    assert text_of(tree_of(read(Path("one_stage/../one_stage/one-stage_l_tta.py")))) == expected
    monkeypatch.chdir(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(CORPUS, target_is_directory=True)
    assert text_of(tree_of(read(Path("link") / inner))) == expected


# -- the peer ----------------------------------------------------------------------------------------------------------
@pytest.mark.peer
def test_mmengine_still_gives_what_is_expected_of_it():
    python = os.environ.get("TRAINWRIGHT_PEER_PYTHON") or (sys.executable if find_spec("mmengine") else None)
    if python is None:
        pytest.skip("no MMEngine: `make peers` installs it, or TRAINWRIGHT_PEER_PYTHON names a Python that has it")
    results = make_expected(python)
    assert sorted(results) == FILES
    for inner, result in results.items():
        if isinstance(result, str):  # its words differ between versions of Python
            assert isinstance(MMENGINE[inner], str), inner
        else:
            assert text_of(result["value"]) == text_of(MMENGINE[inner]["value"]), inner

import os
import shutil
import signal
import time
import warnings
from contextlib import contextmanager

import pytest
from corpus_ours import ERRORS
from corpus_tools import CORPUS, SITE, canonical_tree, corpus_files, text_of
from fuzz_cases import BASE, CASES, HOSTILE_DATA, TOKENS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainwright.base.errors import ConfigError
from trainwright.config import Config

LIMIT_S = 3.0  # a third of it on a machine that has nothing else to do
SETTINGS = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
KINDS = {  # name -> the valid files that are mutated
    "text": [name for name in corpus_files() if name.startswith(("detection/", "segmentation/", "classification/"))],
    "import": [name for name in corpus_files() if name.startswith("llm/")],
    "language": [name for name in corpus_files() if name.startswith("language/")],
    "yaml": [name for name in corpus_files() if name.startswith("data/") and name.endswith((".yaml", ".yml"))],
    "json": [name for name in corpus_files() if name.startswith("data/") and name.endswith(".json")],
}
EXAMPLES = {"text": 110, "import": 90, "language": 90, "yaml": 110, "json": 90}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    for name in [name for name in os.environ if name.startswith("TW_")]:
        monkeypatch.delenv(name)
    monkeypatch.syspath_prepend(str(SITE))


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the corpus, in a folder `configs`: what trusted=False may inherit from."""
    folder = tmp_path_factory.mktemp("fuzz") / "configs"
    shutil.copytree(CORPUS, folder)
    return folder


@contextmanager
def in_time():
    """What takes too long is ended and fails, and does not hang the suite."""

    def stop(_number, _frame):
        raise AssertionError(f"still reading after {5 * LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 5 * LIMIT_S)
    start = time.process_time()  # what else the machine does is no fault of the reader
    try:
        yield
    finally:
        seconds = time.process_time() - start
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seconds < LIMIT_S, f"took {seconds:.2f} s"


def read(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated configs
        return Config.fromfile(str(path), **options)


def read_or_refuse(path, **options):
    """The config, or the error if it is one of ours with its place; anything else is raised."""
    with in_time():
        try:
            return read(path, **options), None
        except ConfigError as caught:
            error = caught
    assert isinstance(error.lineno, int), error
    assert error.lineno >= 1, error
    assert str(error).startswith(f"{error.filename}:{error.lineno}: "), error
    return None, error


# -- random changes of valid files -------------------------------------------------------------------------------------
@st.composite
def mutated(draw, kind):
    """(path of a valid file, its bytes after one to four changes)."""
    name = draw(st.sampled_from(KINDS[kind]))
    data = (CORPUS / name).read_bytes()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 60)))
        change = draw(st.sampled_from(["cut", "delete", "double", "move", "insert", "insert", "flip"]))
        if change == "cut":
            data = data[:start]
        elif change == "delete":
            data = data[:start] + data[end:]
        elif change == "double":
            data = data[:end] + data[start:]
        elif change == "move":
            data = data[:start] + data[end:] + data[start:end]
        elif change == "insert":
            data = data[:start] + draw(st.sampled_from(TOKENS)) + data[start:]
        else:
            data = data[:start] + draw(st.binary(min_size=1, max_size=2)) + data[start + 1 :]
    return name, data


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_read_or_refused(kind, copied):
    refused = []

    @settings(max_examples=EXAMPLES[kind], **SETTINGS)
    @given(mutated(kind))
    def check(example):
        name, data = example
        path = copied / name
        valid = path.read_bytes()
        path.write_bytes(data)
        try:
            cfg, error = read_or_refuse(path, trusted=False)
            if cfg is None:
                refused.append(str(error))
            elif b"import" not in data and path.suffix == ".py":
                # what was read needs nothing to be run, so running it is safe, and must give the same
                again, _ = read_or_refuse(path)
                assert again is not None
                assert text_of(canonical_tree(again.to_dict())) == text_of(canonical_tree(cfg.to_dict()))
        finally:
            path.write_bytes(valid)

    check()
    assert len(refused) >= EXAMPLES[kind] / 2
    assert len(set(refused)) >= EXAMPLES[kind] / 4


@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_a_changed_data_file_is_never_run(kind, copied, monkeypatch):
    def run(*_args, **_kwargs):
        raise AssertionError("a data file was run")

    for name in ("system", "popen", "remove"):
        monkeypatch.setattr(os, name, run)

    @settings(max_examples=80, **SETTINGS)
    @given(mutated(kind), st.sampled_from(HOSTILE_DATA), st.integers(0, 300))
    def check(example, hostile, place):
        name, data = example
        path = copied / name
        valid = path.read_bytes()
        lines = data.split(b"\n")
        lines.insert(place % (len(lines) + 1), hostile)
        path.write_bytes(b"\n".join(lines))
        try:
            for trusted in (True, False):
                read_or_refuse(path, trusted=trusted)
        finally:
            path.write_bytes(valid)

    check()


# -- files made by hand ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_malformed_file_says_where_and_why(case, tmp_path):
    path = tmp_path / f"config{case.suffix}"
    for name, content in {"base.py": BASE, **case.more, path.name: case.content}.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    cfg, error = read_or_refuse(path)
    assert cfg is None, f"was read: {list(cfg or ())[:20]}"
    assert (os.path.basename(error.filename), error.lineno) == (case.where or path.name, case.line), error
    assert case.says.lower() in str(error).lower()


def test_there_are_enough_malformed_files():
    assert len(CASES) >= 100
    assert sum(case.suffix == ".py" for case in CASES) >= 60
    assert len({(case.suffix, case.content, str(case.more)) for case in CASES}) == len(CASES)


def test_every_valid_file_is_valid_when_not_changed(copied):
    names = [name for names in KINDS.values() for name in names]
    assert not set(names) & set(ERRORS)
    results = [read_or_refuse(copied / name, trusted=False)[0] for name in names]
    assert sum(cfg is not None for cfg in results) >= len(names) / 2


# -- values that grow when they are written out ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("suffix", "trusted"), [(".yaml", True), (".yaml", False), (".json", True), (".json", False), (".py", False)]
)
def test_a_chain_of_bases_does_not_grow_without_end(suffix, trusted, tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    for i in range(25):
        if suffix == ".py":
            lines = [f"_base_ = './c{i - 1}.py'", "a = [{{ _base_.a }}, {{ _base_.a }}]"] if i else ["a = [1]"]
        elif suffix == ".yaml":
            lines = [f"_base_: c{i - 1}.yaml", "a: [{{ _base_.a }}, {{ _base_.a }}]"] if i else ["a: [1]"]
        else:
            keys = f'"_base_": "c{i - 1}.json", "a": [{{{{ _base_.a }}}}, {{{{ _base_.a }}}}]' if i else '"a": [1]'
            lines = [f"{{{keys}}}"]
        (folder / f"c{i}{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    cfg, error = read_or_refuse(folder / f"c24{suffix}", trusted=trusted)
    assert cfg is None
    assert error.filename.endswith(suffix)

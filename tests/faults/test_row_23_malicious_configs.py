"""Row 23: configs that would run code or take all memory. 0 executed from data formats; bounded memory."""

import json

import pytest
from bombs import in_a_small_process

from trainwright.base.errors import ConfigError
from trainwright.config import Config

APPLY = "a: !!python/object/apply:os.mkdir ['{fuse}']\n"
RUNS = "import os\nos.mkdir({fuse!r})\n"


def yaml_tag(folder, fuse):
    (folder / "c.yaml").write_text(APPLY.format(fuse=fuse))
    return folder / "c.yaml"


def base_is_a_program(folder, fuse):
    (folder / "evil.py").write_text(RUNS.format(fuse=str(fuse)))
    (folder / "c.json").write_text(json.dumps({"_base_": "evil.py", "a": 1}))
    return folder / "c.json"


def yaml_base_is_a_program(folder, fuse):
    (folder / "evil.py").write_text(RUNS.format(fuse=str(fuse)))
    (folder / "c.yaml").write_text("_base_: evil.py\n")
    return folder / "c.yaml"


def base_lies_outside(folder, fuse):
    (folder / "evil.py").write_text(RUNS.format(fuse=str(fuse)))
    (folder / "inside").mkdir()
    (folder / "inside" / "c.yaml").write_text("_base_: ../evil.py\n")
    return folder / "inside" / "c.yaml"


def data_lies_outside(folder, fuse):
    (folder / "secret.yaml").write_text("password: 1\n")
    (folder / "inside").mkdir()
    (folder / "inside" / "c.json").write_text(json.dumps({"_base_": "../secret.yaml"}))
    return folder / "inside" / "c.json"


def imports(folder, fuse):
    (folder / "evil_module.py").write_text(RUNS.format(fuse=str(fuse)))
    (folder / "c.json").write_text(json.dumps({"custom_imports": {"imports": ["evil_module"]}, "a": 1}))
    return folder / "c.json"


def nested(folder, fuse):
    (folder / "c.json").write_text("[" * 10**6 + "]" * 10**6)
    return folder / "c.json"


def nested_yaml(folder, fuse):
    (folder / "c.yaml").write_text("a: " + "[" * 10**6 + "]" * 10**6)
    return folder / "c.yaml"


def laughs(folder, fuse):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    (folder / "c.yaml").write_text("\n".join(lines))
    return folder / "c.yaml"


def untrusted_program(folder, fuse):
    (folder / "c.py").write_text(RUNS.format(fuse=str(fuse)))
    return folder / "c.py"


CASES = (
    *(yaml_tag, base_is_a_program, yaml_base_is_a_program, base_lies_outside, data_lies_outside),
    *(imports, nested, nested_yaml, laughs, untrusted_program),
)


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_is_refused_and_runs_nothing_and_takes_little_memory(make, tmp_path, monkeypatch):
    fuse = tmp_path / "fuse"
    path = make(tmp_path, fuse)
    monkeypatch.syspath_prepend(tmp_path)

    def work():
        try:
            cfg = Config.fromfile(str(path), trusted=False)
        except ConfigError as error:
            return f"refused: {error}"
        return f"read: {cfg.pretty_text[:200]}"

    told = in_a_small_process(work)
    assert told.startswith("refused: "), told
    assert not fuse.exists()


@pytest.mark.parametrize("make", [c for c in CASES if c is not untrusted_program], ids=lambda make: make.__name__)
def test_a_data_file_runs_no_code_even_where_it_is_trusted(make, tmp_path, monkeypatch):
    fuse = tmp_path / "fuse"
    path = make(tmp_path, fuse)
    monkeypatch.syspath_prepend(tmp_path)

    def work():
        try:
            Config.fromfile(str(path), import_custom_modules=False)
        except ConfigError as error:
            return f"refused: {error}"
        return "read"

    told = in_a_small_process(work)
    assert told.startswith(("refused: ", "read")), told
    assert not fuse.exists()


def test_config_text_in_a_checkpoint_is_never_run(tmp_path):
    from trainwright.checkpoint import read_checkpoint, write_file
    from trainwright.checkpoint.summary import summary

    fuse = tmp_path / "fuse"
    write_file(tmp_path / "a.pth", {"meta": {"iter": 1, "cfg": RUNS.format(fuse=str(fuse))}, "state_dict": {}})
    assert "os.mkdir" in read_checkpoint(str(tmp_path / "a.pth"))["meta"]["cfg"]
    summary(str(tmp_path / "a.pth"))
    assert not fuse.exists()

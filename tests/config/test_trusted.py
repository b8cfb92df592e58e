import os
import pickle
import sys

import pytest
from corpus_tools import SITE, canonical, canonical_tree, text_of
from test_fuzz import read_or_refuse
from trusted_cases import ACCEPTED, BOMBS, REFUSED

from trainwright.base.errors import ConfigError
from trainwright.config import Config

BASE = "model = dict(type='Net', depth=1, inner=dict(a=1))\nsize = 3\nsteps = [1]\n"
HOSTILE = "open(__file__ + '.hostile', 'w').close()\na = 1\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder `configs/job` with a base and more; afterwards nothing may have been run there."""
    job = tmp_path / "configs" / "job"
    (job / "more").mkdir(parents=True)
    (job / "base.py").write_text(BASE, encoding="utf-8")
    (job / "more" / "other.yaml").write_text("other: {lr: 0.1}\n", encoding="utf-8")
    (job / "more" / "third.py").write_text("lr = 0.5\noptimizer = dict(lr=lr)\n", encoding="utf-8")
    (job / "hostile_module.py").write_text(HOSTILE, encoding="utf-8")
    monkeypatch.chdir(job)
    monkeypatch.syspath_prepend(str(job))
    before = {path for path in tmp_path.rglob("*") if not path.is_dir()}
    modules = set(sys.modules)
    yield job
    made = {path.name for path in tmp_path.rglob("*") if not path.is_dir()} - {path.name for path in before}
    assert not {name for name in made if "hostile" in name}, made
    assert "hostile_module" not in set(sys.modules) - modules


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path, **options):
    cfg, error = read_or_refuse(path, trusted=False, **options)
    if cfg is not None:  # no `assert`, which would show the whole config
        pytest.fail(f"was read: {list(cfg)[:20]}")
    return error


# -- what is read ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ACCEPTED)
def test_plain_data_is_read_as_it_is_when_trusted(name, folder):
    path = write(folder, "job.py", ACCEPTED[name])
    trusted, strict = Config.fromfile(str(path)), Config.fromfile(str(path), trusted=False)
    assert text_of(canonical_tree(strict.to_dict())) == text_of(canonical_tree(trusted.to_dict()))
    assert strict.pretty_text == trusted.pretty_text
    assert (strict.filename, strict.text) == (trusted.filename, trusted.text)


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_was_read_without_trust_is_written_and_read_without_trust(name, folder):
    cfg = Config.fromfile(str(write(folder, "job.py", ACCEPTED[name])), trusted=False)
    cfg.dump(str(folder / "dumped.py"))
    again = Config.fromfile(str(folder / "dumped.py"), trusted=False)
    assert text_of(canonical_tree(again.to_dict())) == text_of(canonical_tree(cfg.to_dict()))
    assert text_of(canonical_tree(pickle.loads(pickle.dumps(cfg)).to_dict())) == text_of(canonical_tree(cfg.to_dict()))


def test_an_import_only_names_something(folder):
    text = "import hostile_module\nfrom hostile_module import a as b\nmodel = dict(type=hostile_module.A, b=[b])\n"
    cfg = Config.fromfile(str(write(folder, "job.py", text)), trusted=False)
    assert canonical_tree(cfg.to_dict()) == {"model": {"type": "hostile_module.A", "b": ["hostile_module.a"]}}
    assert "hostile_module.A" in cfg.pretty_text or "from hostile_module import A" in cfg.pretty_text
    assert "hostile_module" not in sys.modules


def test_an_annotation_is_not_run(folder):
    path = write(folder, "job.py", "a: open('hostile', 'w') = 1\nb: print('hostile')\n")
    assert Config.fromfile(str(path), trusted=False).to_dict() == {"a": 1}


def test_data_files_are_read(folder):
    path = write(folder, "job.yaml", "_base_: more/other.yaml\nother: {momentum: 0.9}\nname: '{{ fileBasename }}'\n")
    assert Config.fromfile(str(path), trusted=False).to_dict() == {
        "other": {"lr": 0.1, "momentum": 0.9},
        "name": "job.yaml",
    }


def test_trust_is_the_default(folder):
    path = write(folder, "job.py", "a = len([1, 2])\n")
    assert Config.fromfile(str(path)).a == 2
    assert Config.fromfile(str(path), trusted=True).a == 2


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", REFUSED)
def test_what_would_have_to_be_run_is_refused(name, folder):
    line, text = REFUSED[name]
    error = refusal(write(folder, "job.py", text))
    assert os.path.basename(error.filename) == "job.py"
    assert error.lineno == line, error


@pytest.mark.parametrize("name", ["call", "def", "for", "list_comprehension", "lambda", "lazy_call", "update"])
def test_the_refusal_names_the_knob(name, folder):
    assert "trusted=False" in str(refusal(write(folder, "job.py", REFUSED[name][1])))


def test_a_base_is_not_trusted_either(folder):
    write(folder, "runs.py", "a = 1\nb = open('hostile', 'w')\n")
    error = refusal(write(folder, "job.py", "_base_ = ['./base.py', './runs.py']\n"))
    assert (os.path.basename(error.filename), error.lineno) == ("runs.py", 2)
    text = "from mmengine.config import read_base\n\nwith read_base():\n    from .runs import *\n"
    error = refusal(write(folder, "job.py", text))
    assert (os.path.basename(error.filename), error.lineno) == ("runs.py", 2)


def test_custom_imports_are_refused_unless_they_are_to_be_left_alone(folder):
    path = write(folder, "job.py", "a = 1\ncustom_imports = dict(imports=['hostile_module'])\n")
    assert "custom_imports" in str(refusal(path))
    cfg = Config.fromfile(str(path), trusted=False, import_custom_modules=False)
    assert cfg.to_dict() == {"a": 1, "custom_imports": {"imports": ["hostile_module"]}}


def test_syntax_errors_and_unknown_names_are_errors_as_ever(folder):
    assert refusal(write(folder, "job.py", "a = 1\nb = (\n")).lineno == 2
    assert "Did you mean 'size'" in str(refusal(write(folder, "job.py", "size = 1\na = sise\n")))
    assert "Did you mean 'depth'" in str(
        refusal(write(folder, "job.py", "_base_ = 'base.py'\na = _base_.model.dept\n"))
    )


# -- the environment ---------------------------------------------------------------------------------------------------
def test_the_environment_is_not_read(folder, monkeypatch):
    monkeypatch.setenv("TW_SECRET", "secret")
    text = "a = '{{ $TW_SECRET:default }}'\nb = {{ $TW_SECRET:3 }}\nc = {{'$TW_SECRET:4'}}\nd = '~/x $HOME'\n"
    cfg = Config.fromfile(str(write(folder, "job.py", text)), trusted=False)
    assert cfg.to_dict() == {"a": "default", "b": 3, "c": 4, "d": "~/x $HOME"}
    assert cfg.env_variables == {}
    cfg = Config.fromfile(str(write(folder, "job.yaml", "a: '{{ $TW_SECRET:default }}'\n")), trusted=False)
    assert cfg.to_dict() == {"a": "default"}


def test_a_variable_without_a_default_is_an_error(folder, monkeypatch):
    monkeypatch.setenv("TW_SECRET", "secret")
    error = refusal(write(folder, "job.py", "a = 1\nb = '{{ $TW_SECRET: }}'\n"))
    assert error.lineno == 2
    assert "secret" not in str(error).replace("TW_SECRET", "")


# -- bases outside of the tree -----------------------------------------------------------------------------------------
@pytest.fixture
def outside(folder, tmp_path, monkeypatch):
    """Configs beside the folder `configs`, in the home folder, and links to them from within."""
    for name in ("outside.py", "outside.yaml", "home/home.py"):
        write(tmp_path, name, "secret: 1\n" if name.endswith(".yaml") else "secret = 1\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (folder / "link.py").symlink_to(tmp_path / "outside.py")
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "../../outside.py",
        "./more/../../../outside.py",
        "../../outside.yaml",
        "{outside}/outside.py",
        "./link.py",
        "linked/outside.py",
        "linked/configs/../outside.py",
        "~/home.py",
        "{{{{ fileDirname }}}}/../../outside.py",
        "mmcls::../../../../outside.py",
        "mmcls::{outside}/outside.py",
        "json::../outside.py",
        "::outside.py",
    ],
)
def test_a_base_outside_of_the_tree_is_refused(name, folder, outside, monkeypatch):
    monkeypatch.syspath_prepend(str(SITE))
    path = write(folder, "job.py", f"a = 1\n_base_ = {name.format(outside=outside)!r}\n")
    error = refusal(path)
    assert (os.path.basename(error.filename), error.lineno) == ("job.py", 2)
    assert "secret" not in str(error)


@pytest.mark.parametrize("name", ["../../outside.yaml", "linked/outside.yaml", "{outside}/outside.yaml"])
def test_a_base_of_a_data_file_outside_of_the_tree_is_refused(name, folder, outside):
    error = refusal(write(folder, "job.yaml", f"a: 1\n_base_: {name.format(outside=outside)}\n"))
    assert error.lineno == 2
    assert "outside" in str(error)


@pytest.mark.parametrize("module", ["...outside", "....outside", ".linked.outside", ".link"])
def test_an_imported_base_outside_of_the_tree_is_refused(module, folder, outside):
    text = f"from mmengine.config import read_base\n\nwith read_base():\n    from {module} import *\n"
    assert refusal(write(folder, "job.py", text)).lineno == 4


def test_a_base_above_the_file_within_the_tree_is_read(folder):
    write(folder.parent, "_base_/runtime.py", "level = 'INFO'\n")
    path = write(folder, "deep/er/job.py", "_base_ = ['../../../_base_/runtime.py', '../../base.py']\n")
    cfg = Config.fromfile(str(path), trusted=False)
    assert (cfg.level, cfg.size) == ("INFO", 3)


def test_a_base_of_an_installed_package_is_read_without_being_run(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(SITE))
    path = write(
        folder, "job.py", "_base_ = 'mmcls::resnet/resnet50_8xb32.py'\nmodel = dict(head=dict(num_classes=2))\n"
    )
    cfg = Config.fromfile(str(path), trusted=False)
    assert cfg.model.head.num_classes == 2
    assert cfg.model._scope_ == "mmcls"
    assert "mmcls" not in sys.modules


# -- too much ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", BOMBS)
def test_what_would_take_too_much_is_refused_quickly(name, folder):
    refusal(write(folder, "job.py", BOMBS[name]))


@pytest.mark.parametrize("suffix", [".py", ".yaml"])
def test_text_that_bases_double_is_refused(suffix, folder):
    for i in range(28):
        line = "a: '{{ _base_.a }}{{ _base_.a }}'" if suffix == ".yaml" else "a = '{{ _base_.a }}{{ _base_.a }}'"
        base = f"_base_: c{i - 1}.yaml" if suffix == ".yaml" else f"_base_ = 'c{i - 1}.py'"
        first = "a: xx" if suffix == ".yaml" else "a = 'xx'"
        write(folder, f"c{i}{suffix}", f"{base}\n{line}\n" if i else f"{first}\n")
    refusal(folder / f"c27{suffix}")


# -- data files never run anything, trusted or not ---------------------------------------------------------------------
HOSTILE_YAML = [
    "a: !!python/object/apply:os.system ['touch hostile']",
    "a: !!python/object/new:os.system ['touch hostile']",
    "a: !!python/object/apply:builtins.open ['hostile', 'w']",
    "a: !!python/object:hostile_module.A {}",
    "a: !!python/name:hostile_module.a",
    "a: !!python/module:hostile_module",
    "? !!python/object/apply:os.system ['touch hostile']\n: 1",
    "a: [{b: !!python/object/apply:eval [\"open('hostile', 'w')\"]}]",
    "_base_: ./hostile_module.py",
    "_base_: [./more/other.yaml, hostile_module.py]",
    "custom_imports: {imports: [hostile_module]}",
    "custom_imports: {imports: [hostile_module], allow_failed_imports: true}",
]


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("text", HOSTILE_YAML)
def test_yaml_runs_nothing(text, trusted, folder):
    cfg, error = read_or_refuse(write(folder, "job.yaml", f"ok: 1\n{text}\n"), trusted=trusted)
    assert cfg is None
    assert error.lineno == 2, error


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        '"_base_": "./hostile_module.py"',
        '"_base_": ["./hostile_module.py"]',
        '"custom_imports": {"imports": ["hostile_module"]}',
        '"custom_imports": {"imports": "hostile_module", "allow_failed_imports": true}',
    ],
)
def test_json_runs_nothing(text, trusted, folder):
    cfg, error = read_or_refuse(write(folder, "job.json", f'{{"ok": 1,\n{text}}}\n'), trusted=trusted)
    assert cfg is None
    assert error.lineno == 2, error


@pytest.mark.parametrize("file_format", [".yaml", ".json"])
def test_data_in_a_string_runs_nothing(file_format, folder):
    hostile = {
        ".yaml": [
            "a: !!python/object/apply:os.system ['touch hostile']",
            "custom_imports: {imports: [hostile_module]}",
        ],
        ".json": ['{"_base_": "./hostile_module.py"}', '{"custom_imports": {"imports": ["hostile_module"]}}'],
    }
    for text in hostile[file_format]:
        try:
            cfg = Config.fromstring(text, file_format)
        except ConfigError:
            continue
        assert canonical(cfg.to_dict()) == {"custom_imports": {"imports": ["hostile_module"]}}  # data, and left alone

"""``trainwright config`` in a process of its own: pipes, terminals, and how long it takes to start."""

import os
import pty
import re
import subprocess
import sys

import pytest

from trainwright.config import Config

COMMAND = (sys.executable, "-m", "trainwright", "config")
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
LONG = f'name = "{"x" * 150}"\nlr = 0.1\n'


def on_a_terminal(folder, *words, **variables):
    """What the command writes to a terminal of 80 columns, and its exit code."""
    ours, theirs = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    env |= {"TERM": "xterm-256color", "COLUMNS": "80", **variables}
    process = subprocess.Popen([*COMMAND, *words], cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    chunks = []
    try:
        while chunk := os.read(ours, 65536):
            chunks.append(chunk)
    except OSError:  # how Linux says that the other end was closed
        pass
    os.close(ours)
    return process.wait(60), b"".join(chunks).decode().replace("\r\n", "\n")


def through_a_pipe(folder, *words, **variables):
    env = {**os.environ, "COLUMNS": "80", **variables}
    done = subprocess.run([*COMMAND, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


@pytest.fixture
def configs(tmp_path):
    (tmp_path / "a.py").write_text(LONG)
    (tmp_path / "b.py").write_text(LONG.replace("0.1", "0.2"))
    (tmp_path / "child.py").write_text('_base_ = "a.py"\n')
    (tmp_path / "old.py").write_text('optimizer = dict(type="SGD", lr=0.1)\ntotal_epochs = 2\n')
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("show", "child.py"), 0),
        (("show", "child.py", "--origin"), 0),
        (("diff", "a.py", "b.py"), 1),
        (("tree", "child.py"), 0),
        (("validate", "a.py"), 1),
        (("migrate", "old.py"), 0),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_colours_on_a_terminal_and_the_same_text_in_a_pipe(configs, words, code):
    on, plain = on_a_terminal(configs, *words), through_a_pipe(configs, *words, FORCE_COLOR="1")
    assert (on[0], plain[0]) == (code, code)
    assert ESCAPE.search(on[1])
    assert "\x1b" not in plain[1]
    assert plain[1] in ESCAPE.sub("", on[1]), "a line was wrapped or changed on the terminal"
    assert any(len(line) > 100 for line in plain[1].splitlines()) or words[0] in ("tree", "validate", "migrate", "diff")


def test_colours_can_be_refused(configs):
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, text = on_a_terminal(configs, "show", "child.py", "--origin", **variables)
        assert code == 0
        assert "\x1b" not in text
    assert "\x1b" in on_a_terminal(configs, "tree", "child.py", NO_COLOR="")[1]


def test_what_a_terminal_shows_reads_back(configs):
    (configs / "shown.py").write_text(ESCAPE.sub("", on_a_terminal(configs, "show", "child.py", "--origin")[1]))
    assert Config.fromfile(configs / "shown.py").to_dict() == Config.fromfile(configs / "child.py").to_dict()


def test_commands_that_only_read_import_no_torch(configs):
    code = (
        "import sys; from trainwright.cli.app import app; from trainwright.cli import config_show, config_tree, "
        "config_diff, config_migrate; import trainwright.config.migration, trainwright.config.diff; "
        "config_show.show_config('child.py', False, ['lr=1'], False); config_tree.show_tree('child.py', False); "
        "config_diff.diff_configs('a.py', 'b.py', False); config_migrate.migrate_config('old.py', None, False); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=configs, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr

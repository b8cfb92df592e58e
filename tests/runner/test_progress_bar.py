"""The progress bar as a person sees it: a process on a pseudo-terminal, its screen by a terminal emulator."""

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path
from struct import pack

import pytest

from trainwright.runner.progress import REDRAWS_PER_SECOND, wants_bar

pyte = pytest.importorskip("pyte")
SCRIPT = Path(__file__).parent / "terminal_run.py"
# The size of this terminal is its own, and a CI service or a user may have said what they want of bars.
KEPT_OUT = ("CI", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES")
TIMEOUT_S = 120  # a process may take long to start on a busy machine


class Terminal:
    """A process whose standard error (and output, unless ``out`` takes it) is a terminal, and what is on its screen."""

    def __init__(self, work_dir, scenario="epochs", out=None, columns=100, lines=30, **environ):
        self.screen = pyte.HistoryScreen(columns, lines, history=2000)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.master, slave = pty.openpty()
        self.resize(columns, lines)
        env = {key: value for key, value in os.environ.items() if key not in KEPT_OUT}
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(work_dir), scenario],
            stdin=subprocess.PIPE,
            stdout=slave if out is None else out,
            stderr=slave,
            env={**env, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **environ},
        )
        os.close(slave)

    def resize(self, columns, lines):
        ioctl(self.master, termios.TIOCSWINSZ, pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def send(self, *words):
        for word in words:
            self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()

    def read(self, wait_s=0.05):
        """Take in what came until nothing came for ``wait_s``; False at the end."""
        while select.select([self.master], [], [], wait_s)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # Linux's way to say that the other side is closed
                return False
            if not data:
                return False
            self.raw += data
            self.stream.feed(data)
        return True

    def rows(self):
        """Everything that was on the screen and is not wiped away, from the top of the history."""
        above = ["".join(line[x].data for x in range(self.screen.columns)) for line in self.screen.history.top]
        return [row.rstrip() for row in (*above, *self.screen.display) if row.strip()]

    def until(self, *patterns):
        """Read until each pattern is found in some row, and there is one bar; the rows then."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            alive = self.read()
            rows = self.rows()
            if len(bars(rows)) == 1 and all(any(re.search(text, row) for row in rows) for text in patterns):
                return rows
            if not alive:
                break
        pytest.fail(f"{patterns} did not come; on the screen:\n" + "\n".join(self.rows()))
        return []

    def ended(self):
        """Let it run on to its end; (exit code, rows)."""
        self.process.stdin.close()
        while self.read(0.1) and self.process.poll() is None:
            pass
        code = self.process.wait(TIMEOUT_S)
        self.read()
        return code, self.rows()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if not self.process.stdin.closed:
            self.process.stdin.close()
        os.close(self.master)


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def start(*args, **kwargs):
        opened.append(Terminal(tmp_path, *args, **kwargs))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def bars(rows):
    return [row for row in rows if "━" in row or "─" in row]


def test_what_a_person_sees(terminal):
    at = terminal()
    rows = at.until(r"^epoch 1/2  ─{20}  0/8  0:00:\d\d$")
    at.send("go", "go")
    rows = at.until(r"^epoch 1/2  ━{5}─{15}  2/8  0:00:\d\d  eta 0:00:\d\d  lr: 1\.0000e-01  loss: \d")
    assert not any("Epoch(train)" in row for row in rows), "the bar shows its values"
    at.send("go", "go", "go")  # the epoch, and one batch of validation
    at.until(r"^epoch 2/2  ━{10}─{10}  4/8  0:00:\d\d  eta 0:00:\d\d  validation 1/2  eta 0:00:\d\d$")
    at.send("go")
    at.until(r"Epoch\(val\) \[1\]\[2/2\]    accuracy/top1: ", r"^epoch 2/2  ━{10}─{10}  4/8.*  lr: ")
    code, rows = at.ended()
    assert code == 0
    assert not bars(rows), "nothing of it stays"
    text = "\n".join(rows)
    assert "Epoch(train)" not in text
    assert len(re.findall(r"Epoch\(val\) \[\d\]\[2/2\]    accuracy", text)) == 2
    assert "Epoch(val) [1][1/2]" not in text
    log = next(at_dir.read_text() for at_dir in Path(at.process.args[2]).glob("*/*.log"))
    assert log.count("Epoch(train)") == 8
    assert log.count("Exp name") == 2


def test_lines_come_above_it_whole(terminal):
    at = terminal(columns=60, NO_COLOR="1")
    at.send("long", "print")
    rows = at.until("printed by somebody", "2/8|1/8")
    start = next(n for n, row in enumerate(rows) if "a long line" in row)
    # The terminal breaks it, at its last column; nothing is cut, moved to another place or drawn twice.
    joined = "".join(row.ljust(60) for row in rows[start : start + 5])
    assert " ".join(f"word{n}" for n in range(30)) in joined
    assert rows[-1] == bars(rows)[0], "it is the last line"
    assert sum("printed by somebody" in row for row in rows) == 1
    assert not re.search(rb"\x1b\[[\d;]*[1-9][\d;]*m", at.raw), "NO_COLOR"


@pytest.mark.conformance  # long
def test_the_bar_fits_a_window_of_any_width(terminal):
    at = terminal(columns=100)
    at.send("go")
    at.until(r"1/8.*loss: ")
    at.resize(50, 30)
    at.send("go")
    rows = at.until(r"2/8.*…$")
    assert len(bars(rows)[0]) <= 46, "the ^C that a terminal echoes has room behind it"
    at.resize(120, 30)
    at.send("go")
    at.until(r"3/8.*loss: \d")


@pytest.mark.conformance  # long
def test_it_is_drawn_a_few_times_a_second_and_not_once_a_step(terminal):
    at = terminal("iterations")
    at.until("0/300")
    began, before = time.monotonic(), at.raw.count(b"\x1b[2K")
    at.send(*["go"] * 300)
    at.until("300/300")
    seconds = time.monotonic() - began
    drawn = at.raw.count(b"\x1b[2K") - before
    assert 1 <= drawn <= REDRAWS_PER_SECOND * (seconds + 1)


@pytest.mark.conformance  # long
def test_an_error_leaves_the_screen_clean(terminal):
    at = terminal()
    at.until("0/8")
    at.send("go", "fail")
    code, rows = at.ended()
    assert code == 1
    assert not bars(rows)
    assert rows[-1] == "ZeroDivisionError: a hook failed"
    assert sum(row.startswith("ZeroDivisionError") for row in rows) == 1


def test_ctrl_c_leaves_the_screen_clean(terminal):
    at = terminal()
    at.until("0/8")
    at.send("go", "ctrl-c", "go")
    code, rows = at.ended()
    assert code == 1
    assert not bars(rows)
    assert any("Interrupted: training was stopped (Ctrl-C) after iteration 2" in row for row in rows)


@pytest.mark.conformance  # long
def test_a_killed_process_leaves_the_cursor_on(terminal):
    at = terminal()
    at.until("0/8")
    at.process.kill()
    at.process.wait(TIMEOUT_S)
    at.read()
    assert b"\x1b[?25l" not in at.raw
    assert not at.screen.cursor.hidden


@pytest.mark.conformance  # long
def test_what_is_written_past_the_bar(terminal, tmp_path):
    """By a forked process, to the terminal; into a file, where standard output goes."""
    with open(tmp_path / "out.txt", "wb") as out:
        at = terminal(out=out)
        at.until("0/8")
        at.send("fork", "print", "go")
        rows = at.until("from the child", "3/8|2/8")
        assert rows.count("from the child") == 1, "a line of its own"
        code, rows = at.ended()
    assert code == 0
    assert rows.count("from the child") == 1
    assert (tmp_path / "out.txt").read_text() == "printed by somebody\n"
    assert not any("printed by somebody" in row for row in rows)


def test_where_nobody_watches_there_are_lines_only(terminal):
    at = terminal(CI="true")
    code, rows = at.ended()
    assert code == 0
    assert not bars(rows)
    assert b"\x1b[2K" not in at.raw
    assert sum("Epoch(train)" in row for row in rows) == 8


def test_a_pipe_gets_the_log_lines_only(tmp_path):
    env = {**os.environ, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "epochs"], input=b"", capture_output=True, env=env, check=True
    )
    assert b"\x1b" not in done.stderr
    assert b"\r" not in done.stderr
    lines = done.stderr.decode().splitlines()
    assert sum("Epoch(train)" in line for line in lines) == 8
    log = next(tmp_path.glob("*/*.log")).read_text().splitlines()
    assert set(lines) <= set(log)


class Stream:
    def __init__(self, is_terminal):
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "environ", "expected"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"CI": ""}, True),
        (True, {"CI": "false"}, True),
        (True, {"CI": "1"}, False),
        (True, {"CI": "1", "TTY_INTERACTIVE": "1"}, True),
        (True, {"TTY_INTERACTIVE": "0"}, False),
        (False, {"TTY_COMPATIBLE": "1"}, False),
        (True, {"TTY_COMPATIBLE": "0"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "unknown"}, False),
        (True, {"NO_COLOR": "1"}, True),
    ],
)
def test_who_gets_a_bar(is_terminal, environ, expected):
    """A notebook's standard error is no terminal either."""
    assert wants_bar(Stream(is_terminal), environ) is expected


def test_without_a_standard_error_there_is_no_bar():
    assert wants_bar(None, {}) is False

"""The exact order in which a save goes to the disk, as Python's calls and as the kernel sees it."""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from harness import HALF_OF_LAYOUTS, LAYOUTS
from saves import at_a_save, prepared


def grammar(ops, at):
    """The calls as words: which file of the protocol each of them concerns; the same words one after the other once."""
    words = []
    for op in ops:
        if op.kind == "mark":
            word = "SAVED"
        elif op.kind == "rename":
            word = f"rename {what(op.path, at)} to {what(op.other, at)}"
        else:
            word = f"{op.kind} {what(op.path, at)}"
        if not words or words[-1] != word:
            words.append(word)
    return words


def what(path, at):
    """A path as a word."""
    top, _, inner = path.partition("/")
    top = re.sub(r"^(\.(tmp|del)-)(.+)-[0-9a-f]{32}$", r"\1\3", top)
    return f"{top}/{inner}" if inner else top


def saved_file(tmp, name):
    """What publishing one file is."""
    return [f"create {tmp}", f"write {tmp}", f"fsync {tmp}", f"rename {tmp} to {name}", "fsync_dir ."]


def durable(path):
    """What one file inside a folder is."""
    return [f"create {path}", f"write {path}", f"fsync {path}"]


HINT = saved_file(".tmp-last_checkpoint", "last_checkpoint")
FILES = ("tensors-00000-of-00001.safetensors", "rank-00000.pth", "state.pth", "MANIFEST.json")
EXPECTED = {
    "file": [*saved_file(".tmp-iter_3.pth", "iter_3.pth"), "SAVED", *HINT, "unlink iter_2.pth"],
    "folder": [
        "mkdir .tmp-iter_3",
        *(word for name in FILES for word in durable(f".tmp-iter_3/{name}")),
        *("fsync_dir .tmp-iter_3", "rename .tmp-iter_3 to iter_3", "fsync_dir .", "SAVED"),
        *HINT,
        "rename iter_2 to .tmp-iter_2",
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_publish_then_hint_then_purge(tmp_path, layout):
    at, settings = prepared(tmp_path / "run", layout, "a save and a purge")
    seen = []

    def experiment(save):
        ops = save.recorded()
        if ops is None:
            yield
        else:
            seen.extend(grammar(ops, at))

    at_a_save(tmp_path / "run", at, experiment, **settings)
    expected = EXPECTED[layout]
    assert seen[: len(expected)] == expected
    rest = seen[len(expected) :]
    assert all(re.match(r"(unlink|rmdir) \.(tmp|del)-iter_2", word) for word in rest)
    assert bool(rest) == (layout == "folder")


SCRIPT = """
    import sys
    sys.path.insert(0, {here!r})
    from harness import small_config, train
    train(small_config({folder!r}, {layout!r}, max_iters=3, checkpoint={{"max_keep_ckpts": 1}}))
"""
CALLS = "openat,open,creat,write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,close"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("layout", HALF_OF_LAYOUTS)
def test_the_kernel_sees_the_same(tmp_path, layout):
    """C++ code that wrote past Python would show here."""
    folder, trace = tmp_path / "run", tmp_path / "trace"
    script = textwrap.dedent(SCRIPT).format(here=str(Path(__file__).parent), folder=str(folder), layout=layout)
    command = ["strace", "-f", "--seccomp-bpf", "-y", "-s", "0", "-e", f"trace={CALLS}", "-o", str(trace)]
    done = subprocess.run([*command, sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip("this machine does not let strace trace")
    assert done.returncode == 0, done.stderr
    seen = kernel_words(trace.read_text(), str(folder))
    start = next(i for i, word in enumerate(seen) if "iter_3" in word)
    expected = [word for word in EXPECTED[layout] if word != "SAVED"]
    assert seen[start : start + len(expected)] == expected


def kernel_words(trace, folder):
    """The lines of strace in the words of `grammar`, for what lies below the folder and is no log."""
    words = []
    for line in whole_lines(trace):
        call = re.match(r"\d+ +(\w+)\((.*?)\) += (-?\d+)", line)
        if call is None or call[3].startswith("-"):
            continue
        word = kernel_word(call[1], call[2], folder)
        if word and (not words or words[-1] != word):
            words.append(word)
    return words


def whole_lines(trace):
    """The lines of strace, those put together that another thread's call cut in two."""
    begun = {}
    for line in trace.splitlines():
        thread = line.partition(" ")[0]
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>").rstrip()
        elif "resumed>" in line:
            yield begun.pop(thread, "") + line.partition("resumed>")[2]
        else:
            yield line


def kernel_word(name, arguments, folder):
    """One call, or "" for one that concerns nothing here."""
    paths = [what(path, 3) for path in re.findall(re.escape(folder) + r"/?([^\">]*)[\">]", arguments)]
    paths = [path or "." for path in paths]
    if not paths or re.match(r"\d{8}_|\.lock", paths[-1]):
        return ""
    if name.startswith("rename"):
        return f"rename {paths[0]} to {paths[1]}"
    if name.startswith("open"):
        return f"create {paths[-1]}" if "O_CREAT" in arguments else ""
    kinds = {"pwrite64": "write", "writev": "write", "unlinkat": "unlink", "close": ""}
    kind = kinds.get(name, name)
    if kind == "fsync" and Path(folder, paths[-1]).is_dir():
        kind = "fsync_dir"
    if kind == "fsync" and re.fullmatch(r"\.tmp-iter_\d+", paths[-1]):
        kind = "fsync_dir"
    return kind and f"{kind} {paths[-1]}"

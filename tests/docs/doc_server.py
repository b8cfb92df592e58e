"""Runs commands in forks of itself, so that PyTorch is imported once for all pages: python doc_server.py SOCKET.

Nothing but imports happens before a fork. Each command gets a supervisor, which tells doc_shim.py the process and at
the end its status, and ends the command and what it has started when doc_shim.py is killed.
"""

import contextlib
import gc
import json
import os
import random
import select
import signal
import socket
import sys

import matplotlib.backends.backend_agg
import numpy as np
import sklearn.datasets
import torch
import torch._dynamo  # which every optimizer imports when it is built
import torch.distributed.fsdp

import trainwright.cli.app
import trainwright.cli.dry_run
import trainwright.cli.train
import trainwright.config
import trainwright.hooks
import trainwright.runner
import trainwright.runner.runner
import trainwright.trainer
import trainwright.visualization
from trainwright.compat import command

PARTS = (matplotlib, sklearn.datasets, trainwright)
# What a command is given when its page has it run `briefly`.
BRIEFLY = {"train": ["--fast-dev-run", "2"], "find-lr": ["--iters", "10"], "verify-resume": ["--iters", "4"]}


def serve(path):
    """For ever: the tests end it by closing its standard input."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(path)
    server.listen()
    gc.freeze()
    os.write(1, b"ready\n")
    while True:
        ready, _, _ = select.select([server, 0], [], [])
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if server not in ready:
            return None
        connection, _ = server.accept()
        if os.fork() == 0:
            server.close()
            return supervise(connection)
        connection.close()


def supervise(connection):
    """Gives what the command is to run; the supervisor itself does not come back."""
    data, fds, _, _ = socket.recv_fds(connection, 65536, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(65536)
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (woken, waker):
            os.close(fd)
        connection.close()
        return entered(json.loads(data), fds)
    for fd in fds:
        os.close(fd)
    connection.sendall(f"{pid}\n".encode())
    ready, _, _ = select.select([connection, woken], [], [])
    if woken not in ready:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(f"{status}\n".encode())
    os._exit(0)


def entered(request, fds):
    """Become the process that the command asks for; gives what to run in it."""
    os.setsid()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[1:1] = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    random.seed()
    np.random.seed()
    torch.seed()
    program, arguments = request["program"], request["arguments"]
    if program == "page":
        return lambda: run_page(*arguments)
    if program == "trainwright":
        return lambda: run_trainwright(arguments)
    return lambda: run_python(arguments)


def run_page(plan):
    import doc_page

    sys.path[0] = os.getcwd()
    sys.exit(doc_page.run(plan))


def run_trainwright(arguments):
    if os.environ.get("DOCS_BRIEFLY") and arguments[0] in BRIEFLY:
        arguments = [*arguments, *BRIEFLY[arguments[0]]]
    sys.path[0] = os.path.dirname(sys.executable)
    sys.argv = [os.path.join(sys.path[0], "trainwright"), *arguments]
    trainwright.cli.main()


def run_python(arguments):
    sys.path[0] = os.getcwd()
    if arguments[0] == "-m":
        sys.exit(command._run_module(arguments[1], arguments[2:]))
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), vars(command._new_main()))  # as `python -c` does
        return
    sys.exit(command._run_script(arguments[0], arguments[1:]))


if __name__ == "__main__":
    run = serve(sys.argv[1])
    if run is not None:
        run()

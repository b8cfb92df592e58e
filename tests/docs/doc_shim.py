"""Stands for `trainwright` and `python` in the blocks of a page: has the command run in a fork of a process that has
PyTorch imported already (doc_server.py), with this one's folder, environment, input and output, and ends as it does.
"""

import json
import os
import signal
import socket
import sys


def main(program, arguments):
    if program.startswith("python") and not _can_be_forked(arguments):
        os.execv(os.environ["DOCS_PYTHON"], [os.environ["DOCS_PYTHON"], *arguments])
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.connect(os.environ["DOCS_SERVER"])
    request = {"program": program, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    data = json.dumps(request).encode() + b"\n"
    sent = socket.send_fds(server, [data[:1024]], [0, 1, 2])
    server.sendall(data[sent:])
    answers = server.makefile("r")
    pid = int(answers.readline())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    status = int(answers.readline())
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) != signal.SIGKILL:  # which nobody can set
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.WEXITSTATUS(status))


def _can_be_forked(arguments):
    """A script or a module; faces are put on when Python starts, and so is whatever else an option says."""
    if os.environ.get("TRAINWRIGHT_FACES") or not arguments:
        return False
    return arguments[0] in ("-m", "-c") or not arguments[0].startswith("-")


main(os.path.basename(sys.argv[0]), sys.argv[1:])

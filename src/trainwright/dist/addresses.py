"""Addresses of this machine, as several machines need them to find each other."""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress

from trainwright.base.errors import ConfigError

DEFAULT_PORT = 29400
_SIOCGIFADDR = 0x8915  # Linux: the address of an interface


def parse_endpoint(text: str) -> tuple[str, int]:
    """``host`` and ``port`` of ``host:port``, ``host``, or ``[address]:port`` for IPv6."""
    host, separator, port = text.rpartition(":")
    if not separator or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    is_bare_ipv6 = ":" in host and not host.startswith("[")
    host = host.strip("[]")
    if not host or is_bare_ipv6 or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"the endpoint {text!r} is no host:port, as in node0:29400 or [fd00::1]:29400.")
    return host, int(port)


def is_local(host: str, port: int) -> bool:
    """Whether `host` is this machine, with `port` still free: whether a server can be opened there."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, proto=socket.IPPROTO_TCP)[0]
    except socket.gaierror as error:
        raise ConfigError(f"the host {host!r} of the endpoint is not known on this machine: {error}") from error
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(address)
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
                return False
            raise ConfigError(f"no server can be opened at {host}:{port}: {error.strerror}.") from error
    return True


def address_towards(host: str) -> str | None:
    """The address from which this machine reaches `host`; None where that is a loopback, which no other one reaches."""
    with suppress(OSError):
        family, _, _, _, address = socket.getaddrinfo(host, 9, proto=socket.IPPROTO_UDP)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # sends nothing: only a route is chosen
            own = str(probe.getsockname()[0])
            return None if own.startswith("127.") or own == "::1" else own
    return None


def interface_of(address: str | None) -> str | None:
    """The name of the network interface that has this IPv4 address, where it can be found out."""
    if address is None or ":" in address:
        return None
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an address
                request = struct.pack("256s", name.encode()[:15])
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None

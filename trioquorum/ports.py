"""Ports of loopback for ensembles that are laid out by the program."""

import errno
import secrets
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
LOWEST: Final = 15_000
_DYNAMIC: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DYNAMIC_FROM: Final = 32_768


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses at the moment, and that no outgoing connection is given as its own.

    The system's own choice (port 0) is among those: while a peer is down, anybody who dials could get its port, even
    whoever dials that very port, and the peer could not start again.

    Raises:
        OSError: none can be bound.
    """
    try:
        above = int(_DYNAMIC.read_text().split()[0])
    except (OSError, ValueError):
        above = _DYNAMIC_FROM
    below = max(above - LOWEST, 0)
    found: list[int] = []
    with ExitStack() as stack:  # All are held until the last is found, so that none comes twice.
        for _ in range(100 * count):
            if len(found) == count:
                break
            sock = stack.enter_context(socket.socket())
            try:
                sock.bind((LOOPBACK, LOWEST + secrets.randbelow(below) if below else 0))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                found.append(sock.getsockname()[1])
        else:
            raise OSError(errno.EADDRINUSE, f"no {count} ports are free", LOOPBACK)
    return found

"""Where ensembles are put that the program lays out itself."""

import secrets
import socket
from pathlib import Path

import pytest

from trioquorum import ports


def test_free_ports_are_many_different_ones_that_nobody_gets_by_chance() -> None:
    found = ports.free_ports(40)
    assert len(set(found)) == 40
    lowest_dynamic = int(ports._DYNAMIC.read_text().split()[0])
    if lowest_dynamic > ports.LOWEST:  # else the whole range is the system's
        assert all(ports.LOWEST <= port < lowest_dynamic for port in found)
    with socket.create_server((ports.LOOPBACK, found[0])):
        pass


def test_a_port_in_use_is_not_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "LOWEST", port)
        draws = iter([0, 0, 1, 2, 3, 4, 5, 6])
        monkeypatch.setattr(secrets, "randbelow", lambda _: next(draws))
        monkeypatch.setattr(ports, "_DYNAMIC", Path("/nowhere"))
        monkeypatch.setattr(ports, "_DYNAMIC_FROM", port + 10)
        found = ports.free_ports(1)
        assert port not in found
        assert len(found) == 1


def test_nothing_free_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as taken:
        monkeypatch.setattr(ports, "LOWEST", taken.getsockname()[1])
        monkeypatch.setattr(ports, "_DYNAMIC", Path("/nowhere"))
        monkeypatch.setattr(ports, "_DYNAMIC_FROM", taken.getsockname()[1] + 1)
        with pytest.raises(OSError, match="no 1 ports are free"):
            ports.free_ports(1)

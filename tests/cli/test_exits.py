"""What ends a server becomes an exit code and one line that says what to do."""

import errno

import pytest

from trioquorum.errors import ConfigError, CorruptLog, DiskFailed, LinkClosed, StorageError
from trioquorum.exits import Exit, explain
from trioquorum.invariants import InvariantViolation


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("peers.toml: peer[0].id is missing; add it"), 2, "peers.toml: peer[0].id is missing; add it"),
        (StorageError("data is locked by process 7"), 3, "data is locked by process 7"),
        (CorruptLog("log.1: bad checksum"), 10, "log.1: bad checksum"),
        (DiskFailed("log.1: no space left"), 10, "log.1: no space left"),
        (
            OSError(errno.EADDRINUSE, "Address already in use", "tcp://127.0.0.1:2181"),
            14,
            "port 2181 of 127.0.0.1 is already in use; stop what listens there or choose another",
        ),
        (
            OSError(errno.EACCES, "Permission denied", "tcp://127.0.0.1:80"),
            14,
            "port 80 of 127.0.0.1 is not for this user; choose one above 1023",
        ),
        (
            OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address", "tcp://10.9.9.9:2181"),
            14,
            "10.9.9.9 is no address of this machine; correct tcp://10.9.9.9:2181 in the configuration",
        ),
        (
            OSError(-2, "Name or service not known", "tcp://nowhere:2181"),
            14,
            "cannot listen on tcp://nowhere:2181: Name or service not known; choose another address",
        ),
        (
            OSError(errno.EADDRINUSE, "Address already in use"),
            14,
            "a port is already in use: [Errno 98] Address already in use; stop what listens there or choose another",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/version-2"),
            3,
            "/data/version-2: Permission denied; correct that or use another --data-dir",
        ),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", b"/data"), 3, "/data: Not a directory; correct that"),
        (InvariantViolation("the log only grows: txn=1"), 1, "a safety rule broke, so this server stopped: the log"),
        (LinkClosed("gone"), 1, "stopped by an unexpected LinkClosed: gone"),
        (ValueError("two\nlines"), 1, "stopped by an unexpected ValueError: two lines"),
        (OSError(errno.EPIPE, "Broken pipe"), 1, "stopped by an unexpected BrokenPipeError: [Errno 32] Broken pipe"),
        (KeyError(), 1, "stopped by an unexpected KeyError: KeyError"),
    ],
)
def test_an_error_has_its_code_and_line(error: BaseException, code: int, line: str) -> None:
    found_code, found_line = explain(error)
    assert found_code == code
    assert found_line.startswith(line)
    assert "\n" not in found_line


def test_the_weightiest_error_of_a_group_counts() -> None:
    disk = DiskFailed("log.1: write failed")
    broken = InvariantViolation("rule: a=1")
    inner = BaseExceptionGroup("inner", [LinkClosed("gone"), KeyboardInterrupt()])
    assert explain(ExceptionGroup("g", [ValueError("x"), disk]))[0] is Exit.STORAGE
    assert explain(BaseExceptionGroup("g", [inner, disk]))[0] is Exit.STORAGE
    assert explain(ExceptionGroup("g", [disk, broken]))[1].startswith("a safety rule broke")
    assert "LinkClosed" in explain(inner)[1]

"""How a server that cannot go on says so: an exit code (config §9) and one line."""

import errno
from collections.abc import Iterator
from enum import IntEnum

from trioquorum.errors import ConfigError, CorruptLog, CorruptSnapshot, DiskFailed, StorageError
from trioquorum.invariants import InvariantViolation
from trioquorum.transport import Address


class Exit(IntEnum):
    """ZooKeeper's exit codes, as far as we have a use for them."""

    FINISHED = 0
    UNEXPECTED = 1
    CONFIG = 2
    DATA_DIR = 3
    STORAGE = 10
    PORT = 14


def explain(error: BaseException) -> tuple[Exit, str]:
    """The exit code for ``error``, and one line that says what happened and what to do.

    Of an exception group the weightiest error counts: a broken safety rule, then a failed disk, then the rest in the
    order in which they are inside.
    """
    return _explain(min(leaves(error), key=_rank))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """``error``, or what is in the group that it is."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def _rank(error: BaseException) -> int:
    match error:
        case InvariantViolation():
            return 0
        case StorageError():
            return 1
        case ConfigError() | OSError():
            return 2
        case Exception():
            return 3
    return 4


def _explain(error: BaseException) -> tuple[Exit, str]:
    match error:
        case ConfigError():
            return Exit.CONFIG, _line(error)
        case CorruptLog() | CorruptSnapshot() | DiskFailed():
            return Exit.STORAGE, _line(error)
        case StorageError():
            return Exit.DATA_DIR, _line(error)
        case InvariantViolation():
            return Exit.UNEXPECTED, f"a safety rule broke, so this server stopped: {_line(error)}"
        case OSError() if "://" in str(error.filename) or error.errno == errno.EADDRINUSE:
            return Exit.PORT, _port(error)
        case OSError() if error.filename is not None:
            return Exit.DATA_DIR, f"{_text(error.filename)}: {error.strerror}; correct that or use another --data-dir"
    return Exit.UNEXPECTED, f"stopped by an unexpected {type(error).__name__}: {_line(error)}"


def _port(error: OSError) -> str:
    if error.filename is None:
        return f"a port is already in use: {_line(error)}; stop what listens there or choose another"
    address = Address.parse(_text(error.filename))
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {address.port} of {address.host} is already in use; stop what listens there or choose another"
        case errno.EACCES | errno.EPERM:
            return f"port {address.port} of {address.host} is not for this user; choose one above 1023"
        case errno.EADDRNOTAVAIL:
            return f"{address.host} is no address of this machine; correct {address} in the configuration"
    return f"cannot listen on {address}: {error.strerror}; choose another address"


def _text(filename: object) -> str:
    return filename.decode(errors="replace") if isinstance(filename, bytes) else str(filename)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""A multi: several writes that happen together or not at all (client-protocol §7)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from trioquorum.errors import Code, PeerProtocolError, TransactionFailed
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import CreateFlag, Op, Perm
from trioquorum.wire.records import (
    Acl,
    CreateRequest,
    IntResponse,
    MultiHeader,
    PathResponse,
    PathStatResponse,
    PathVersionRequest,
    SetDataRequest,
    Stat,
    StatResponse,
)

OPEN_ACL: tuple[Acl, ...] = (Acl(Perm.ALL, "world", "anyone"),)

Result = str | Stat | None
"""Of one operation: create gives the path, set the Stat, delete and check nothing."""


def create_request(
    path: str, data: bytes | None, acl: Sequence[Acl] | None, *, ephemeral: bool, sequence: bool
) -> CreateRequest:
    """The request of a create; no ACL means open to everybody."""
    flags = (CreateFlag.EPHEMERAL if ephemeral else 0) | (CreateFlag.PERSISTENT_SEQUENTIAL if sequence else 0)
    return CreateRequest(path, data, list(OPEN_ACL if acl is None else acl), flags)


def decode_results(data: bytes, at: int) -> tuple[list[Result | Code], int]:
    """The body of a multi's reply: one result per operation, or one code per operation when it was rolled back.

    Raises:
        PeerProtocolError: truncated, or a result no write has.
    """
    results: list[Result | Code] = []
    while True:
        header, at = MultiHeader.decode_from(data, at)
        if header.done:
            return results, at
        if header.type == Op.ERROR:
            error, at = IntResponse.decode_from(data, at)
            results.append(Code(error.value) if error.value in _CODES else Code.SYSTEMERROR)
        elif header.type == Op.CREATE:
            created, at = PathResponse.decode_from(data, at)
            results.append(created.path)
        elif header.type == Op.CREATE2:
            created2, at = PathStatResponse.decode_from(data, at)
            results.append(created2.path)
        elif header.type == Op.SET_DATA:
            written, at = StatResponse.decode_from(data, at)
            results.append(written.stat)
        elif header.type in (Op.DELETE, Op.CHECK):
            results.append(None)
        else:
            raise PeerProtocolError(f"multi result of type {header.type}")


_CODES = frozenset(int(code) for code in Code)


class Transaction:
    """Collects operations; ``commit`` sends them. Get one from ``Client.transaction``."""

    def __init__(self, send: Callable[[bytes], Awaitable[list[Result | Code]]]) -> None:
        self._send = send
        self._parts: list[bytes] = []

    def create(
        self,
        path: str,
        data: bytes | None = b"",
        *,
        acl: Sequence[Acl] | None = None,
        ephemeral: bool = False,
        sequence: bool = False,
    ) -> Self:
        """Add a create."""
        return self._add(Op.CREATE, create_request(path, data, acl, ephemeral=ephemeral, sequence=sequence))

    def delete(self, path: str, version: int = -1) -> Self:
        """Add a delete."""
        return self._add(Op.DELETE, PathVersionRequest(path, version))

    def set(self, path: str, data: bytes | None, version: int = -1) -> Self:
        """Add a write of data."""
        return self._add(Op.SET_DATA, SetDataRequest(path, data, version))

    def check(self, path: str, version: int) -> Self:
        """Add a condition: ``path`` has ``version``, or nothing happens."""
        return self._add(Op.CHECK, PathVersionRequest(path, version))

    def _add(self, op: Op, record: Record) -> Self:
        self._parts += (MultiHeader(op, False, -1).encode(), record.encode())
        return self

    async def commit(self) -> list[Result]:
        """Do all of it; one result per operation.

        Raises:
            TransactionFailed: rolled back; it says which operation failed and why.
            RequestFailed: as every request.
        """
        outcome = await self._send(b"".join((*self._parts, MultiHeader(-1, True, -1).encode())))
        codes = [result for result in outcome if isinstance(result, Code)]
        if any(code is not Code.OK for code in codes):
            raise TransactionFailed(codes)
        return [result for result in outcome if not isinstance(result, Code)]

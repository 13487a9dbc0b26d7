"""What the tests of the machines share: configurations, transactions and zxids for people."""

from collections.abc import Iterable

from trioquorum.tree.paths import CONFIG
from trioquorum.wire.ops import Op
from trioquorum.wire.txn import ErrorTxn, SetDataTxn, TxnHeader
from trioquorum.zab.quorum import Member, QuorumConfig


def members(*sids: int, observers: Iterable[int] = (), **fields: object) -> list[Member]:
    """Peers on imaginary addresses; ``fields`` go into each."""
    return [member(sid, **fields) for sid in sids] + [member(sid, role="observer") for sid in observers]


def member(sid: int, **fields: object) -> Member:
    return Member(sid, f"memory://quorum{sid}", f"memory://election{sid}", **fields)  # type: ignore[arg-type]


def config(*sids: int, observers: Iterable[int] = (), version: int = 0) -> QuorumConfig:
    return QuorumConfig(members(*sids, observers=observers), version)


def zx(text: str) -> int:
    """``5`` is counter 5 of epoch 0, ``2.5`` of epoch 2, ``-1`` is −1."""
    epoch, _, counter = text.rpartition(".")
    return (int(epoch or "0", 0) << 32) + int(counter, 0)


def show(zxid: int) -> str:
    return f"{zxid >> 32}.{zxid & 0xFFFFFFFF}" if zxid >> 32 not in (0, -1) else str(zxid)


def show_all(zxids: Iterable[int]) -> str:
    return " ".join(map(show, zxids)) or "nothing"


def payload(zxid: int, value: int = 0) -> bytes:
    """A transaction that changes nothing; ``value`` makes two of the same zxid differ."""
    return TxnHeader(session=1, cxid=value, zxid=zxid, time_ms=0, type=-1).encode() + ErrorTxn(-101).encode()


def reconfig_payload(zxid: int, proposed: QuorumConfig) -> bytes:
    """A transaction that proposes a configuration."""
    header = TxnHeader(session=1, cxid=0, zxid=zxid, time_ms=0, type=Op.RECONFIG)
    return header.encode() + SetDataTxn(CONFIG, proposed.text().encode(), -1).encode()

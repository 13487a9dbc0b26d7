"""What the tests of reconfiguration share."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from trioquorum.client import Client
from trioquorum.config import Settings
from trioquorum.errors import Code, RequestFailed
from trioquorum.storage.log_format import encode_records, header
from trioquorum.storage.membership import COMMITTED, NEXT
from trioquorum.storage.names import LOG, file_name
from trioquorum.testing import MemoryEnsemble
from trioquorum.testing.safety.sight import COUNTER_MASK
from trioquorum.testing.settled import on_disk
from trioquorum.tree.acl import digest_id
from trioquorum.tree.paths import CONFIG
from trioquorum.wire.ops import Op
from trioquorum.wire.txn import SetDataTxn, Txn, TxnHeader
from trioquorum.zab.reconfig import parse_config

PASSWORD = b"super:secret"
SETTINGS = Settings(reconfig_enabled=True, super_digest=digest_id(PASSWORD), voters_min=1)
FIRST_ZXID = 0x100000001
LOST = (Code.CONNECTIONLOSS, Code.REQUESTTIMEOUT)


@asynccontextmanager
async def operator(ensemble: MemoryEnsemble, *ids: int, request_timeout_ms: int = 60_000) -> AsyncIterator[Client]:
    """A client that may reconfigure."""
    async with ensemble.client(*ids, request_timeout_ms=request_timeout_ms, session_timeout_ms=40_000) as client:
        await client.add_auth("digest", PASSWORD)
        yield client


def voters(ensemble: MemoryEnsemble, peer: int) -> set[int]:
    """Who votes in what the config node of ``peer`` shows."""
    data = ensemble.peers[peer].database.tree.nodes["/zookeeper/config"].data
    return set(parse_config((data or b"").decode()).voters)


def stored(ensemble: MemoryEnsemble, peer: int) -> tuple[set[int] | None, set[int] | None]:
    """The voters on the disk of ``peer``: committed and proposed."""
    files = ensemble.peers[peer].disk.files
    found = [set(parse_config(files[name].decode()).voters) if name in files else None for name in (COMMITTED, NEXT)]
    return found[0], found[1]


async def wait_members(ensemble: MemoryEnsemble, expected: Iterable[int], *peers: int) -> None:
    """Wait until these peers show ``expected`` as voters and serve."""
    wanted = set(expected)
    await ensemble.wait_until(
        lambda: all(
            ensemble.peers[peer].established is not None and voters(ensemble, peer) == wanted
            for peer in peers or ensemble.running()
        )
    )


async def wait_led(ensemble: MemoryEnsemble, *leaders: int) -> None:
    """Wait until one of these leads, and all that run serve under it."""
    await ensemble.wait_until(lambda: ensemble.leader() in leaders)
    await ensemble.wait_serving()


async def refused(client: Client, *args: Iterable[object], **options: object) -> Code:
    """The code that a reconfiguration is refused with."""
    try:
        await client.reconfig(*args, **options)  # type: ignore[arg-type]
    except RequestFailed as failure:
        return failure.code
    return Code.OK


async def leave_pending(ensemble: MemoryEnsemble, lines: Iterable[str], *peers: int) -> None:
    """What a crash between a proposal and its commit leaves at these peers, which are stopped: noted and logged."""
    ends = {(await on_disk(ensemble.peers[peer].disk)).last_zxid for peer in peers}
    # One that led may have a snapshot from the start of its epoch, before any transaction.
    (end,) = {zxid if zxid & COUNTER_MASK else 0 for zxid in ends}
    version = end + 1 if end else FIRST_ZXID
    text = "\n".join([*lines, f"version={version:x}"]).encode()
    txn = Txn(TxnHeader(0, 0, version, 0, Op.RECONFIG), SetDataTxn(CONFIG, text, -1))
    ensemble.safety.proposed_unseen(version)
    for peer in peers:
        files = ensemble.peers[peer].disk.files
        files[NEXT] = bytearray(text)
        files[file_name(LOG, version)] = bytearray(header(end) + encode_records([txn.encode()]))

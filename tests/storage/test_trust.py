"""What a start makes of data that is not there (quorum-protocol §21, trap 8)."""

from pathlib import Path

import pytest
import trio

from tests.storage.kit import Heard, creates
from trioquorum.errors import CorruptLog, DiskFailed, StorageError
from trioquorum.events import DataUntrusted
from trioquorum.limits import Limits
from trioquorum.storage.database import Database
from trioquorum.storage.log_format import HEADER, encode_records
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.snapshot import body_chunks
from trioquorum.storage.trust import MARKER, Trust, hand_in_marker
from trioquorum.tree.nodes import DataTree

E1 = 1 << 32
CAREFUL = Trust(empty=False)
UPGRADE = Trust(no_snapshot=True)


def log(*zxids: int) -> dict[str, bytes]:
    return {f"log.{zxids[0]:x}": HEADER + encode_records([payload for _, payload in creates(zxids)])}


async def load(disk: MemoryDisk, trust: Trust, logs: MemoryDisk | None = None, heard: Heard | None = None) -> Database:
    events = (heard or Heard()).events
    return await Database.load(disk, logs or disk, Limits(), events, slow_flush_ms=1000, trust=trust)


async def test_an_empty_directory_may_vote_when_it_is_trusted() -> None:
    disk, heard = MemoryDisk(), Heard()
    db = await load(disk, Trust(), heard=heard)
    assert (db.last_zxid, db.vote_zxid, db.joinable_zxid) == (0, 0, 0)
    assert heard.of(DataUntrusted) == []


async def test_an_empty_directory_may_not_vote_when_nobody_vouches() -> None:
    """However often it starts: it must not leave a snapshot that makes it look like a database."""
    disk = MemoryDisk()
    for _ in range(2):
        heard = Heard()
        db = await load(disk, CAREFUL, heard=heard)
        assert (db.last_zxid, db.vote_zxid, db.joinable_zxid) == (0, -1, -1)
        assert disk.files == {}
        assert len(heard.of(DataUntrusted)) == 1


async def test_the_marker_vouches_once() -> None:
    snapshots, logs = MemoryDisk(), MemoryDisk({MARKER: b""})
    db = await load(snapshots, CAREFUL, logs)
    assert db.vote_zxid == 0
    assert list(logs.files) == []
    assert list(snapshots.files) == ["snapshot.0"]
    snapshots.files.clear()
    assert (await load(snapshots, CAREFUL, logs)).vote_zxid == -1


async def test_the_marker_counts_until_the_database_says_so_itself() -> None:
    class Failing(MemoryDisk):
        async def flush(self, name: str, size: int) -> None:
            raise DiskFailed(name)

    logs = MemoryDisk({MARKER: b""})
    with pytest.raises(DiskFailed):
        await load(Failing(), CAREFUL, logs)
    assert (await load(MemoryDisk(), CAREFUL, logs)).vote_zxid == 0


async def test_a_marker_beside_data_is_spent() -> None:
    disk = MemoryDisk({MARKER: b"", **log(E1 + 1)})
    with pytest.raises(StorageError, match="there is a log but no snapshot"):
        await load(disk, CAREFUL)
    await load(disk, UPGRADE)
    assert MARKER not in disk.files


async def test_an_untrusted_database_is_trusted_with_a_leaders_snapshot() -> None:
    class Body:
        def __init__(self) -> None:
            self.chunks = body_chunks(DataTree(), 1000)

        def __aiter__(self) -> "Body":
            return self

        async def __anext__(self) -> bytes:
            await trio.lowlevel.checkpoint()
            try:
                return next(self.chunks)
            except StopIteration:
                raise StopAsyncIteration from None

    disk = MemoryDisk()
    db = await load(disk, CAREFUL)
    async with trio.open_nursery() as nursery:
        await nursery.start(db.log.run)
        await db.replace(Body(), E1 + 7)
        nursery.cancel_scope.cancel()
    assert (db.vote_zxid, db.joinable_zxid) == (E1 + 7, E1 + 7)
    assert (await load(disk, CAREFUL)).vote_zxid == E1 + 7


async def test_a_log_without_a_snapshot_is_refused() -> None:
    disk = MemoryDisk(log(E1 + 1, E1 + 2))
    before = {name: bytes(data) for name, data in disk.files.items()}
    with pytest.raises(StorageError, match="there is a log but no snapshot"):
        await load(disk, Trust())
    assert disk.files == before


async def test_a_log_without_a_snapshot_is_all_there_is_when_an_operator_says_so() -> None:
    """And it gets its snapshot, so that it need not be said again."""
    disk = MemoryDisk(log(E1 + 1, E1 + 2))
    db = await load(disk, UPGRADE)
    assert db.vote_zxid == E1 + 2
    assert set(db.tree.nodes) >= {f"/n{E1 + 1:x}", f"/n{E1 + 2:x}"}
    again = await load(disk, Trust())
    assert again.tree.digest == db.tree.digest


async def test_nobody_can_vouch_for_a_hole() -> None:
    with pytest.raises(CorruptLog):
        await load(MemoryDisk(log(E1 + 2, E1 + 3)), UPGRADE)


async def test_snapshots_that_are_damaged_are_not_missing_ones() -> None:
    disk = MemoryDisk({"snapshot.0": b"", **log(E1 + 1)})
    with pytest.raises(StorageError, match="none of the 1 snapshots can be used"):
        await load(disk, UPGRADE)


def test_the_marker_lies_beside_the_folder_of_logs(tmp_path: Path) -> None:
    folder = tmp_path / "version-2"
    folder.mkdir()
    hand_in_marker(tmp_path, folder)
    assert list(folder.iterdir()) == []
    (tmp_path / MARKER).touch()
    hand_in_marker(tmp_path, folder)
    assert [path.name for path in folder.iterdir()] == [MARKER]
    assert not (tmp_path / MARKER).exists()

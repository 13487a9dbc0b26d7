"""Every byte of small directories changed in turn, and every file cut at every length: found, or no harm done."""

from collections import Counter

import pytest

from tests.storage.damage import DIRECTORIES, Directory, changed, packed, packed_by_snappy, purged
from tests.storage.kit import Heard, content, image, load
from trioquorum.errors import StorageError
from trioquorum.events import DigestMismatch
from trioquorum.storage.memory_disk import MemoryDisk

pytestmark = pytest.mark.slow

directories = pytest.mark.parametrize("name", DIRECTORIES)


def cuts(data: bytes) -> list[bytes]:
    return [data[:size] for size in range(len(data))]


async def found(directory: Directory, name: str, damaged: list[bytes]) -> Counter[tuple[str, int]]:
    """What came of each, and where the data ended."""
    return Counter([(await directory.outcome(name, data))[:2] for data in damaged])


@directories
async def test_every_changed_byte_is_found_or_harmless(name: str) -> None:
    """Of the last log only the last transaction may go, where it looks like an interrupted write, and it is told."""
    directory = await DIRECTORIES[name]()
    before_last = sorted(directory.states)[-2]
    for file in directory.fragile:
        outcomes = await found(directory, file, [data for _, data in changed(directory.files[file])])
        allowed = {("whole", directory.last_zxid), ("refused", -1)}
        if file == directory.last_log:
            allowed.add(("shorter", before_last))
            assert outcomes["refused", -1] > 500
        assert outcomes.keys() <= allowed, file


@directories
async def test_every_cut_is_found_or_a_prefix(name: str) -> None:
    """A cut between two records of the last log is the log as it was then, which nobody can tell from it.

    A checksum begins with four bytes of 0, so that a cut behind one of those leaves a log with padding.
    """
    directory = await DIRECTORIES[name]()
    for file in directory.fragile:
        outcomes = await found(directory, file, cuts(directory.files[file]))
        if file != directory.last_log:
            assert outcomes.keys() <= {("whole", directory.last_zxid), ("refused", -1)}, file
            continue
        ends = {zxid: count for (what, zxid), count in outcomes.items() if what == "silent"}
        assert ends.keys() <= directory.states.keys()
        assert len(ends) > 2
        assert {count for zxid, count in ends.items() if zxid > min(ends)} == {1 + 4}
        assert ("refused", -1) not in outcomes


async def test_the_only_snapshot_is_read_whole_or_refused() -> None:
    for directory in (await purged(), await packed(), await packed_by_snappy()):
        (name,) = directory.fragile
        data = directory.files[name]
        for each in (*cuts(data), *(other for _, other in changed(data, 2))):
            outcome = await directory.outcome(name, each)
            assert (outcome.what, outcome.skipped) in {("whole", ()), ("refused", (name,))}


async def test_where_zookeepers_log_lost_its_end_before_an_epoch() -> None:
    """Its files do not say what they follow; the digests of the next transactions do."""
    files = image("ens-leader-loss-s3")
    files = {name: files[name] for name in ("snapshot.0", "log.100000001", "log.200000001")}
    whole = content((await load(MemoryDisk(files))).tree)
    told = 0
    for data in cuts(files["log.100000001"]):
        heard = Heard()
        try:
            db = await load(MemoryDisk({**files, "log.100000001": data}), heard=heard)
        except StorageError:
            continue
        if content(db.tree) != whole:
            assert heard.of(DigestMismatch)
            assert db.digests.mismatches
            told += 1
    assert told

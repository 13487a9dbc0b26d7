"""What a ``Disk`` promises, on a real directory and in memory; and what only the real one does."""

import errno
import os
import subprocess
import sys
import threading  # noqa: TID251
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import trio
import trio.testing

from trioquorum.errors import DiskFailed, DiskFull, StorageError
from trioquorum.storage.disk import LOCK_FILE, Disk, RealDisk
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing.sim_disk import DiskFaults, SimDisk

STEP = 1 << 16


@pytest.fixture(params=["real", "real, no sync, no preallocation", "memory", "simulated"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "memory":
        yield MemoryDisk()
    elif request.param == "simulated":
        yield SimDisk(Random(1), DiskFaults(), Counter())
    elif request.param == "real":
        with RealDisk(tmp_path / "a" / "b", preallocate_bytes=STEP) as real:
            yield real
    else:
        with RealDisk(tmp_path, force_sync=False, preallocate_bytes=0) as real:
            yield real


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealDisk]:
    with RealDisk(tmp_path, preallocate_bytes=STEP) as disk:
        yield disk


async def test_append_and_read(disk: Disk) -> None:
    file = await disk.create("log.1")
    assert file.size == 0
    for part in (b"one", b"", b"two" * 50_000):
        await file.append(part)
    assert file.size == 150_003
    assert (await disk.read_at("log.1", 1, 4)) == b"netw"
    assert (await disk.read("log.1")).rstrip(b"\0") == b"one" + b"two" * 50_000
    await file.aclose()
    await file.aclose()
    assert await disk.read("log.1") == b"one" + b"two" * 50_000
    assert await disk.size("log.1") == 150_003
    assert await disk.read_at("log.1", 150_000, 99) == b"two"
    assert await disk.read_at("log.1", 150_004, 99) == b""
    with pytest.raises(DiskFailed):
        await disk.create("log.1")


async def test_open_append_cuts_first(disk: Disk) -> None:
    await disk.write_atomic("log.1", b"good and bad" + bytes(99))
    file = await disk.open_append("log.1", 5)
    assert file.size == 5
    assert (await disk.read("log.1")).rstrip(b"\0") == b"good "
    await file.append(b"enough")
    await file.aclose()
    assert await disk.read("log.1") == b"good enough"


async def test_small_and_large_files_appear_whole(disk: Disk) -> None:
    await disk.write_atomic("currentEpoch", b"1")
    await disk.write_atomic("currentEpoch", b"22")
    async with disk.stream_atomic("snapshot.5") as file:
        await file.write(b"abc")
        assert "snapshot.5" not in await disk.list()
        await file.write(b"def")
    assert await disk.read("snapshot.5") == b"abcdef"
    assert await disk.list() == ["currentEpoch", "snapshot.5"]
    assert await disk.read("currentEpoch") == b"22"


async def test_a_stream_that_fails_leaves_the_old_file(disk: Disk) -> None:
    await disk.write_atomic("snapshot.5", b"old")
    with pytest.raises(StorageError, match=r"(?i)no such file"):
        await _copy(disk, "snapshot.4", "snapshot.5")
    with trio.CancelScope() as scope:
        async with disk.stream_atomic("snapshot.5") as file:
            await file.write(b"new")
            scope.cancel()
            await file.write(b"new")
    assert scope.cancelled_caught
    assert await disk.list() == ["snapshot.5"]
    assert await disk.read("snapshot.5") == b"old"


async def test_truncate_remove_and_what_is_not_there(disk: Disk) -> None:
    await disk.write_atomic("log.1", b"abcdef")
    await disk.truncate("log.1", 2)
    assert await disk.read("log.1") == b"ab"
    await disk.remove("log.1")
    await disk.remove("log.1")
    assert await disk.list() == []
    for read in (disk.read("log.1"), disk.read_at("log.1", 0, 1), disk.size("log.1")):
        with pytest.raises(StorageError, match=r"log\.1 cannot be read"):
            await read
    assert await disk.free_bytes() > 1 << 20


async def test_a_cancelled_append_is_still_finished(disk: Disk) -> None:
    file = await disk.create("log.1")
    with trio.CancelScope() as scope:
        scope.cancel()
        await file.append(b"all of it")
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert file.size == 9
    await file.append(b", and more")
    await file.aclose()
    assert await disk.read("log.1") == b"all of it, and more"


async def test_space_is_allocated_ahead_and_given_back(real: RealDisk) -> None:
    file = await real.create("log.1")
    sizes = []
    for size in (10, 100, STEP, 3 * STEP):
        await file.append(b"x" * size)
        sizes.append(await real.size("log.1"))
    assert sizes == [STEP, STEP, 2 * STEP, 5 * STEP]
    assert (await real.read("log.1"))[file.size :] == bytes(5 * STEP - file.size)
    await file.aclose()
    assert await real.size("log.1") == file.size


async def test_a_file_system_that_cannot_allocate(real: RealDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    file = await real.create("log.1")
    await file.append(b"abc")
    assert await real.size("log.1") == 3
    await file.aclose()


async def test_a_failed_flush_is_never_tried_again(real: RealDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    file = await real.create("log.1")
    await file.append(b"abc")
    with monkeypatch.context() as patch:

        def fail(fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error", fd)

        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(DiskFailed, match=r"log\.1 cannot be written: Input/output error"):
            await file.append(b"def")
    with pytest.raises(DiskFailed, match="failed before"):
        await file.append(b"def")
    assert file.size == 3
    await file.aclose()


async def test_a_full_disk_is_reported(real: RealDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for write in (real.write_atomic("currentEpoch", b"5"), _stream(real), _append(real)):
        with pytest.raises(DiskFull, match="cannot be written: No space left on device"):
            await write
    assert "tmp.snapshot.5" not in await real.list()


async def test_a_server_can_be_started_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with RealDisk(tmp_path / "data") as disk:
        assert await disk.list() == []


async def test_what_is_too_much_for_a_flush_is_in_doubt(real: RealDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(DiskFailed, match="No space left on device; this peer stops") as failure:
        await _append(real)
    assert not isinstance(failure.value, DiskFull)


@pytest.mark.parametrize(("keep_free_bytes", "size"), [(0, 1 << 20), (1 << 60, 3)])
async def test_logs_grow_in_steps_only_where_enough_stays_free(tmp_path: Path, keep_free_bytes: int, size: int) -> None:
    with RealDisk(tmp_path / "data", preallocate_bytes=1 << 20, keep_free_bytes=keep_free_bytes) as disk:
        file = await disk.create("log.1")
        await file.append(b"abc")
        assert await disk.size("log.1") == size
        await file.aclose()
        assert await disk.read("log.1") == b"abc"


async def _copy(disk: Disk, source: str, target: str) -> None:
    async with disk.stream_atomic(target) as file:
        await file.write(b"new")
        await file.write(await disk.read(source))


async def _stream(disk: Disk) -> None:
    async with disk.stream_atomic("snapshot.5") as file:
        await file.write(b"abc")


async def _append(disk: Disk) -> None:
    file = await disk.create("log.1")
    try:
        await file.append(b"abc")
    finally:
        await file.aclose()


async def test_one_thread_that_ends(tmp_path: Path) -> None:
    with RealDisk(tmp_path) as disk:
        first, second = await disk.create("log.1"), await disk.create("log.2")
        await first.append(b"a")
        await second.append(b"b")
        assert [thread.name for thread in threading.enumerate()].count(f"log of {tmp_path}") == 1
        await first.aclose()
        await second.aclose()
    assert f"log of {tmp_path}" not in [thread.name for thread in threading.enumerate()]


def _descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


async def test_nothing_stays_open(tmp_path: Path) -> None:
    before = _descriptors()
    with RealDisk(tmp_path) as disk:
        file = await disk.create("log.1")
        await file.append(b"a")
        await file.aclose()
        await disk.truncate("log.1", 0)
        await disk.write_atomic("myid", b"1")
        await _stream(disk)
    disk.close()
    assert _descriptors() == before


def test_a_directory_is_used_by_one_server(tmp_path: Path) -> None:
    with RealDisk(tmp_path):
        code = (
            "import sys, pathlib\nfrom trioquorum.storage.disk import RealDisk\n"
            "try:\n    RealDisk(pathlib.Path(sys.argv[1]))\nexcept Exception as error:\n    print(error)"
        )
        second = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
        assert f"is in use by process {os.getpid()}; stop that server" in second.stdout
        with pytest.raises(StorageError, match="in use by process"):
            RealDisk(tmp_path)
    with RealDisk(tmp_path) as again:
        assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"
        assert again.path == tmp_path


def test_a_directory_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="choose another data directory"):
        RealDisk(tmp_path / "file")
    with pytest.raises(StorageError, match="choose another data directory"):
        RealDisk(tmp_path / "file" / "below")


async def test_the_lock_file_is_not_listed(real: RealDisk) -> None:
    assert await real.list() == []


async def test_a_crash_keeps_what_was_durable_and_the_start_of_what_was_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    del autojump_clock
    disk = MemoryDisk(flush_latency_s=1)
    file = await disk.create("log.1")
    await file.append(b"durable")
    failed = []

    async def fail(write: Callable[[], Awaitable[None]]) -> None:
        with pytest.raises(DiskFailed, match="crashed"):
            await write()
        failed.append(write)

    await disk.write_atomic("currentEpoch", b"1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail, lambda: file.append(b" or not"))
        nursery.start_soon(fail, lambda: disk.write_atomic("currentEpoch", b"2"))
        await trio.sleep(0.5)
        after = disk.crash(torn_bytes=3)
    assert len(failed) == 2
    assert {name: bytes(data) for name, data in after.files.items()} == {"log.1": b"durable or", "currentEpoch": b"1"}
    with pytest.raises(DiskFailed):
        await file.append(b"later")
    again = await after.open_append("log.1", 10)
    await again.append(b".")
    assert await after.read("log.1") == b"durable or."

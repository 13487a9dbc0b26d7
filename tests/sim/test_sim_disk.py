"""Each fault of a simulated disk, seen in what a log, a database or a whole ensemble makes of it."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.sim.kit import Writers, assert_all_equal, events_of
from tests.storage.kit import Heard, content, create, creates, load
from trioquorum.client import Client
from trioquorum.errors import DiskFailed, DiskFull, RequestFailed, StorageError
from trioquorum.events import SlowFlush, SyncReceived, TornTailCut
from trioquorum.limits import Limits
from trioquorum.storage.database import Database
from trioquorum.storage.epochs import Epochs
from trioquorum.storage.log_format import HEADER, encode_records, parse_records
from trioquorum.storage.names import LOG, SNAPSHOT, sorted_by_zxid
from trioquorum.storage.txn_log import TxnLog
from trioquorum.testing import MemoryEnsemble, open_ensemble, seeded
from trioquorum.testing.peer import Life
from trioquorum.testing.settled import on_disk
from trioquorum.testing.sim_disk import Damage, DiskFaults, SimDisk
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.txn import decode_txn
from trioquorum_transports.memory import MemoryNetwork


def sim_disk(seed: int = 1, *, flush_latency_s: float = 0.0, **faults: float) -> SimDisk:
    return SimDisk(random.Random(seed), msgspec.convert(faults, DiskFaults), Counter(), flush_latency_s=flush_latency_s)


def as_bytes(disk: SimDisk) -> dict[str, bytes]:
    return {name: bytes(data) for name, data in disk.files.items()}


def payloads(first: int, count: int) -> list[bytes]:
    return [
        create(zxid, f"/n{zxid:x}", bytes([zxid % 256]) * (37 * zxid % 700)) for zxid in range(first, first + count)
    ]


async def log_of(disk: SimDisk, records: int = 0) -> TxnLog:
    log = TxnLog(disk, Heard().events)
    await log.recover()
    if records:
        await log.append(payloads(1, records))
    return log


# Slow and failing flushes


async def test_flushes_take_their_time_and_stall(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    heard = Heard()
    disk = sim_disk(flush_latency_s=0.01, flush_extra_s=0.05, stall_rate=0.2, stall_s=8.0)
    db = await load(disk, heard=heard)
    await nursery.start(db.log.run)
    took_s = []
    for zxid, payload in creates(range(1, 101)):
        began = trio.current_time()
        db.append([(zxid, payload)])
        await db.log.drained()
        took_s.append(trio.current_time() - began)
    stalls = [time_s for time_s in took_s if time_s > 1.0]
    usual = [time_s for time_s in took_s if time_s <= 1.0]
    assert min(took_s) >= 0.01
    assert 0.03 < sum(usual) / len(usual) < 0.2
    assert 5 <= len(stalls) <= disk.counts["flush stalled"] < 40
    assert max(stalls) < 20.0
    assert len(heard.of(SlowFlush)) == len(stalls)
    nursery.cancel_scope.cancel()


async def test_a_power_cut_ends_a_stall(autojump_clock: MockClock) -> None:
    disk = sim_disk(stall_rate=1.0, stall_s=1000.0)
    ended_s = []

    async def append() -> None:
        with pytest.raises(DiskFailed, match="crashed"):
            await disk.write_atomic("a", b"1")
        ended_s.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(append)
        await wait_all_tasks_blocked()
        cut_s = trio.current_time()
        disk.crash()
    assert ended_s == [cut_s]


@asynccontextmanager
async def ensemble_of_sim_disks(
    failures: list[tuple[int, str]],
) -> AsyncIterator[tuple[MemoryEnsemble, dict[int, DiskFaults], Counter[str]]]:
    """Three peers, each with faults of its own; one whose disk fails or is refused is down, as its process would be."""
    faults = {peer: DiskFaults() for peer in (1, 2, 3)}
    counts: Counter[str] = Counter()

    def failed(life: Life, error: Exception) -> bool:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        failures.append((life.peer.id, str(error)))
        life.peer.end()
        return isinstance(error, StorageError)

    async with open_ensemble(
        MemoryNetwork(),
        disk=lambda peer: SimDisk(random.Random(peer), faults[peer], counts),
        failed=failed,
    ) as ensemble:
        yield ensemble, faults, counts


async def create_many(client: Client, base: str, count: int) -> None:
    for number in range(count):
        await client.create(f"/{base}-{number}", b"x" * 100)


@pytest.mark.parametrize("role", ["leader", "follower"])
async def test_a_failed_flush_stops_the_peer_and_the_others_go_on(role: str, autojump_clock: MockClock) -> None:
    failures: list[tuple[int, str]] = []
    async with ensemble_of_sim_disks(failures) as (ensemble, faults, counts):
        leader = await ensemble.wait_serving()
        victim = leader if role == "leader" else next(peer for peer in ensemble.peers if peer != leader)
        async with ensemble.client(*(peer for peer in ensemble.peers if peer != victim)) as client:
            await create_many(client, "before", 5)
            faults[victim].fail_rate = 1.0
            with suppress(*[RequestFailed] if role == "leader" else []):  # the client's peer loses its leader
                await client.create("/fails")
            await ensemble.wait_down(victim)
            faults[victim].fail_rate = 0.0
            await ensemble.wait_serving()
            await create_many(client, "without", 5)
            assert [(peer, "Input/output error" in why) for peer, why in failures] == [(victim, True)]
            assert counts["flush failed"] == 1
            await ensemble.start(victim)
            await ensemble.wait_serving(1, 2, 3)
            tree = await assert_all_equal(ensemble)
            assert {"/before-4", "/without-4"} <= set(tree.nodes)


async def test_a_failed_flush_leaves_what_it_left() -> None:
    """A process that starts again without a power cut finds whole records, or part of one that it cuts off."""
    left = set()
    for seed in range(40):
        disk = sim_disk(seed, torn_rate=0.8)
        log = await log_of(disk, 3)
        disk.faults.fail_rate = 1.0
        with pytest.raises(DiskFailed, match="Input/output error"):
            await log.append(payloads(4, 3))
        disk.faults.fail_rate = 0.0
        again = await log_of(disk)
        assert disk.logged_zxid() == again.last_zxid
        left.add(again.last_zxid)
    assert left == {3, 4, 5, 6}


# A full disk


async def test_what_does_not_fit_is_cut_off_at_restart() -> None:
    disk = sim_disk()
    log = await log_of(disk, 3)
    used = sum(map(len, disk.files.values()))
    disk.faults.capacity_bytes = used + len(encode_records(payloads(4, 1))) + 5
    with pytest.raises(DiskFull, match="No space left"):
        await log.append(payloads(4, 3))
    assert disk.logged_zxid() == 4
    heard = Heard()
    assert await TxnLog(disk, heard.events).recover() == 4
    assert [event.bytes_cut for event in heard.of(TornTailCut)] == [5]


async def test_a_snapshot_that_does_not_fit_is_gone() -> None:
    disk = sim_disk()
    db = await load(disk)
    disk.faults.capacity_bytes = sum(map(len, disk.files.values())) + 10
    db.tree.last_zxid = 7
    before = as_bytes(disk)
    with pytest.raises(DiskFull, match="No space left"):
        await db.take_snapshot()
    assert as_bytes(disk) == before
    with pytest.raises(DiskFull, match="No space left"):
        await disk.write_atomic("currentEpoch", b"12345678901234567890")
    assert as_bytes(disk) == before | {"currentEpoch.tmp": b"1234567890"}


# Crashes


async def crashed_while_appending(disk: SimDisk, records: int) -> SimDisk:
    log = await log_of(disk, 3)
    disk.flush_latency_s = 1.0

    async def append() -> None:
        with pytest.raises(DiskFailed):
            await log.append(payloads(4, records))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(append)
        await wait_all_tasks_blocked()
        after = disk.crash()
    after.flush_latency_s = 0.0
    return after


@pytest.mark.parametrize("tail", [{}, {"zeros_rate": 1.0}, {"garbage_rate": 1.0}, {"zeros_rate": 1, "garbage_rate": 1}])
async def test_a_torn_append_is_cut_off_at_restart(tail: dict[str, float], autojump_clock: MockClock) -> None:
    found = Counter[int]()
    cut = 0
    counts = Counter[str]()
    for seed in range(150):
        disk = await crashed_while_appending(sim_disk(seed, torn_rate=0.9, **tail), 4)
        counts += disk.counts
        heard = Heard()
        log = TxnLog(disk, heard.events)
        found[await log.recover()] += 1
        assert log.last_zxid == disk.logged_zxid()
        cut += len(heard.of(TornTailCut))
        read = [record async for batch in await log.read_after(0) for record in batch]
        assert [payload for _, payload in read] == payloads(1, log.last_zxid)
        await log.append(payloads(log.last_zxid + 1, 1))
        assert disk.logged_zxid() == log.last_zxid
    assert set(found) == {3, 4, 5, 6, 7}
    assert cut > 40
    assert ("zeros behind a log" in counts) == ("zeros_rate" in tail)
    assert ("garbage in a torn record" in counts) == ("garbage_rate" in tail)


async def test_an_append_in_flight_is_lost_without_faults(autojump_clock: MockClock) -> None:
    disk = await crashed_while_appending(sim_disk(), 4)
    assert await TxnLog(disk, Heard().events).recover() == 3
    assert not disk.counts


async def test_a_crash_while_an_epoch_is_noted_leaves_the_old_or_the_new(autojump_clock: MockClock) -> None:
    left = set()
    for seed in range(60):
        disk = sim_disk(seed, done_rate=0.3, unfinished_rate=0.5)
        epochs = await Epochs.load(disk, 0)
        await epochs.set_accepted(11)
        disk.flush_latency_s = 1.0

        async def note(epochs: Epochs = epochs) -> None:
            with pytest.raises(DiskFailed):
                await epochs.set_accepted(12)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note)
            await wait_all_tasks_blocked()
            after = disk.crash()
        assert (await Epochs.load(after, 0)).accepted == after.epoch("acceptedEpoch")
        left.add((after.epoch("acceptedEpoch"), bytes(after.files.get("acceptedEpoch.tmp", b"none"))))
    assert left == {(11, b"none"), (11, b""), (11, b"1"), (11, b"12"), (12, b"none")}


async def test_a_crash_while_a_snapshot_is_written_leaves_it_whole_or_unfinished(autojump_clock: MockClock) -> None:
    left = Counter[str]()
    for seed in range(60):
        disk = sim_disk(seed, done_rate=0.5, unfinished_rate=0.5)
        db = await load(disk)
        disk.flush_latency_s = 1.0
        db.tree.last_zxid = 7

        async def snapshot(db: Database = db) -> None:
            with pytest.raises(DiskFailed):
                await db.take_snapshot()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(snapshot)
            await wait_all_tasks_blocked()
            after = disk.crash()
        left.update(set(after.files) - {"snapshot.0"} or {"nothing"})
        whole = "snapshot.7" in after.files
        assert after.logged_zxid() == (7 if whole else 0)
        assert (await load(after)).last_zxid == after.logged_zxid()
        assert set(after.files) == {"snapshot.0", "snapshot.7"} if whole else {"snapshot.0"}
    assert set(left) == {"nothing", "snapshot.7", "tmp.snapshot.7"}


async def test_a_snapshot_that_was_given_up_may_come_back_unfinished() -> None:
    async def given_up(seed: int) -> SimDisk:
        disk = sim_disk(seed, unfinished_rate=0.5)
        with trio.CancelScope() as scope:
            async with disk.stream_atomic("snapshot.7") as file:
                await file.write(b"half of it")
                scope.cancel()
        assert not disk.files
        return disk

    assert {tuple((await given_up(seed)).crash().files) for seed in range(10)} == {(), ("tmp.snapshot.7",)}
    for seed in range(10):
        disk = await given_up(seed)
        await disk.remove("whatever")  # flushes the directory
        assert not disk.crash().files


CHANGES: dict[str, tuple[Callable[[SimDisk], Awaitable[object]], dict[str, bytes]]] = {
    "create": (lambda disk: disk.create("b"), {"a": b"1234", "b": b""}),
    "truncate": (lambda disk: disk.truncate("a", 2), {"a": b"12"}),
    "remove": (lambda disk: disk.remove("a"), {}),
}
"""What is done to a file of four bytes, and the files afterwards."""


@pytest.mark.parametrize("kind", CHANGES)
async def test_a_crash_during_another_change_leaves_it_done_or_undone(kind: str, autojump_clock: MockClock) -> None:
    change, done = CHANGES[kind]
    left = []
    for seed in range(20):
        disk = sim_disk(seed, done_rate=0.5)
        await disk.write_atomic("a", b"1234")
        disk.flush_latency_s = 1.0

        async def work(disk: SimDisk = disk) -> None:
            with pytest.raises(DiskFailed):
                await change(disk)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await wait_all_tasks_blocked()
            left.append(as_bytes(disk.crash()))
    assert {str(files) for files in left} == {str({"a": b"1234"}), str(done)}


async def test_a_change_that_was_begun_ends_though_its_caller_is_cancelled(autojump_clock: MockClock) -> None:
    disk = sim_disk(flush_latency_s=1.0)
    with trio.move_on_after(0.5):
        await disk.write_atomic("a", b"1")
    assert as_bytes(disk) == {"a": b"1"}
    with trio.CancelScope() as scope:
        scope.cancel()
        await disk.write_atomic("b", b"1")
    assert as_bytes(disk) == {"a": b"1"}


# What it holds


async def test_the_logged_zxid_is_what_the_files_hold(autojump_clock: MockClock) -> None:
    def held(disk: SimDisk) -> int:
        found = [zxid for zxid, _ in sorted_by_zxid(disk.files, SNAPSHOT)]
        for _, name in sorted_by_zxid(disk.files, LOG):
            found += [zxid for zxid, _ in parse_records(bytes(disk.files[name]), len(HEADER), whole=True).records]
        return max(found, default=0)

    rng = random.Random(5)
    disk = sim_disk(5, torn_rate=0.5, zeros_rate=0.5, done_rate=0.5, unfinished_rate=0.5)
    seen = set()
    for _ in range(30):
        db = await load(disk)

        async def write(db: Database = db) -> None:
            with suppress(DiskFailed):
                await db.log.run()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for _ in range(rng.randrange(8)):
                step = rng.choice(("append", "append", "append", "snapshot", "truncate", "purge"))
                if step == "append":
                    first = db.last_logged + 1
                    for zxid, payload in creates(range(first, first + rng.randrange(1, 5))):
                        db.append([(zxid, payload)])
                    await db.log.drained()
                    assert disk.logged_zxid() == db.last_logged
                elif step == "snapshot":
                    db.fast_forward()
                    await db.take_snapshot()
                elif step == "truncate" and db.last_logged > 2:
                    db.fast_forward()
                    await db.truncate(db.last_logged - 2)
                elif step == "purge":
                    await db.purge(2)
                seen.add(step)
                assert disk.logged_zxid() == held(disk)
            first = db.last_logged + 1
            disk.flush_latency_s = 0.5
            for zxid, payload in creates(range(first, first + 3)):
                db.append([(zxid, payload)])
            await trio.sleep(rng.uniform(0.1, 0.9))
            after = disk.crash()
            nursery.cancel_scope.cancel()
        disk = after
        disk.flush_latency_s = 0.0
        assert disk.logged_zxid() == held(disk)
    assert len(seen) == 4
    assert disk.logged_zxid() > 20


# Rot


async def directory(seed: int) -> tuple[SimDisk, Database]:
    """Two snapshots and three logs, of which recovery needs one and two."""
    disk = sim_disk(seed)
    db = await load(disk)
    async with trio.open_nursery() as nursery:
        await nursery.start(db.log.run)
        for part in range(3):
            for zxid, payload in creates(range(5 * part + 1, 5 * part + 6)):
                db.append([(zxid, payload)])
            await db.log.drained()
            db.fast_forward()
            await (db.take_snapshot() if part < 1 else db.log.roll())
        nursery.cancel_scope.cancel()
    assert list(disk.files) == ["snapshot.0", "log.1", "snapshot.5", "log.6", "log.b"]
    return disk, db


def tree_of(zxid: int) -> DataTree:
    tree = DataTree()
    for _, payload in creates(range(1, zxid + 1)):
        tree.apply(decode_txn(payload))
    return tree


@pytest.mark.parametrize("rot", ["flip", "lose"])
async def test_rot_is_refused_or_does_not_matter_or_shortens_the_log(rot: str) -> None:
    outcomes = Counter[str]()
    for seed in range(80):
        disk, db = await directory(seed)
        rng = random.Random(seed)
        damage = disk.flip_bit(rng) if rot == "flip" else disk.lose_file(rng)
        assert isinstance(damage, Damage)
        assert disk.counts == Counter({"bit flipped" if rot == "flip" else "file lost": 1})
        assert (damage.offset is None) == (rot == "lose")
        try:
            found = await load(disk)
        except StorageError:
            outcomes["refused"] += 1
            assert damage.needed
            continue
        if content(found.tree) == content(db.tree):
            outcomes["as before" if damage.needed else "not needed"] += 1
        else:
            # The last record, or the last file: as after a crash, but it had been acknowledged.
            outcomes["shortened"] += 1
            assert damage.needed
            assert damage.file == "log.b"
            assert found.last_zxid == (14 if rot == "flip" else 10)
            assert content(found.tree) == content(tree_of(found.last_zxid))
    assert outcomes["not needed"] > 10
    assert outcomes["refused"] > 10
    assert (outcomes["shortened"] > 0) == (rot == "lose")


async def test_an_empty_disk_has_nothing_to_rot() -> None:
    disk = sim_disk()
    await disk.write_atomic("acceptedEpoch", b"1")
    assert disk.flip_bit(random.Random(1)) is None
    assert disk.lose_file(random.Random(1)) is None
    assert not disk.counts


@pytest.mark.parametrize("seed", range(8))
async def test_a_peer_with_a_rotten_disk_comes_back_with_the_right_data(seed: int, autojump_clock: MockClock) -> None:
    failures: list[tuple[int, str]] = []
    rng = random.Random(seed)
    async with ensemble_of_sim_disks(failures) as (ensemble, _, _):
        leader = await ensemble.wait_serving()
        victim = next(peer for peer in ensemble.peers if peer != leader)
        async with ensemble.client(leader) as client:
            await create_many(client, "a", 20)
            await ensemble.stop(victim)
            disk = ensemble.peers[victim].disk
            assert isinstance(disk, SimDisk)
            damage = disk.flip_bit(rng) if seed % 2 else disk.lose_file(rng)
            assert damage is not None
            await ensemble.start(victim)
            if failures:
                assert damage.needed
                assert [peer for peer, _ in failures] == [victim]
                ensemble.safety.wiped(victim)
                ensemble.peers[victim].disk = SimDisk(rng, disk.faults, disk.counts)
                await ensemble.start(victim)
                await ensemble.wait_serving(1, 2, 3)
                assert events_of(ensemble, SyncReceived, victim)[-1].event.mode == "SNAP"
            await ensemble.wait_serving(1, 2, 3)
            tree = await assert_all_equal(ensemble)
            assert {f"/a-{number}" for number in range(20)} <= set(tree.nodes)


# All of it


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_power_cuts_on_bad_disks_lose_nothing_acknowledged(seed: int) -> None:
    counts = seeded.run(seed, power_cuts, seed)
    assert counts["append torn"] > 0
    assert counts["zeros behind a log"] > 0


async def power_cuts(seed: int) -> Counter[str]:
    rng = random.Random(f"cuts/{seed}")
    bad = DiskFaults(
        flush_extra_s=0.03, stall_rate=0.01, stall_s=3.0, torn_rate=0.7, garbage_rate=0.5, done_rate=0.5,
        unfinished_rate=0.5, zeros_rate=0.5,
    )  # fmt: skip
    counts = Counter[str]()
    writers = Writers("/w")
    async with open_ensemble(
        MemoryNetwork(),
        limits=Limits(snap_count=30),
        seed=seed,
        disk=lambda peer: SimDisk(random.Random(f"{seed}/{peer}"), bad, counts),
    ) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client(1, 2, 3) as client, trio.open_nursery() as nursery:
            await client.create("/w")
            for task in range(4):
                nursery.start_soon(writers.write, client, str(task), 0.02)
            for _ in range(10):
                await trio.sleep(rng.uniform(0.0, 2.0))
                victims = rng.sample(ensemble.running(), rng.choice((1, 2, 3)))
                await ensemble.crash(*victims)
                await trio.sleep(rng.uniform(0.0, 1.0))
                await ensemble.start(*victims)
                await ensemble.wait_serving()
            writers.halted = True
        bad.stall_rate = 0.0
        await trio.sleep(2 * bad.stall_s)
        writers.check(await assert_all_equal(ensemble))
        for peer in ensemble.peers.values():
            assert isinstance(peer.disk, SimDisk)
            assert peer.disk.logged_zxid() == (await on_disk(peer.disk)).last_zxid
    assert len(writers.acked) > 50
    return counts


async def test_a_seed_decides_everything(autojump_clock: MockClock) -> None:
    async def life(seed: int) -> list[dict[str, bytes]]:
        disk = sim_disk(seed, flush_extra_s=0.1, torn_rate=0.5, zeros_rate=0.5, garbage_rate=0.5)
        found = []
        for _ in range(3):
            disk = await crashed_while_appending(SimDisk(disk._rng, disk.faults, disk.counts), 4)
            found.append(as_bytes(disk))
        return found

    assert await life(1) == await life(1) != await life(2)

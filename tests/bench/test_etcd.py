"""etcd's load generator, against an etcd that misbehaves, and against a real one where there is one."""

import base64
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest
import trio

from bench import etcd, generate
from bench.contest import Contest
from bench.generate import GeneratorFailed, Job, Outcome
from bench.results import Lines
from bench.servers import HOST
from bench.workload import Workload
from tests.bench.etcd_kit import Fields, decode, encode, fake_etcd

pytestmark = [
    pytest.mark.skipif(generate.compiler() is None, reason="no C compiler"),
    pytest.mark.slow,
]

needs_etcd = pytest.mark.skipif(etcd.why_missing() is not None, reason=etcd.why_missing() or "etcd is there")
LATER = 40


def job(port: int, mix: dict[str, int], **more: object) -> Job:
    settings = {"warm_up_s": 0.05, "measure_s": 0.2, "connections": 2, "depth": 8, "probes": False} | more
    return Job(ports=[port], pids=[], root="/r", mix=mix, **settings)  # type: ignore[arg-type]


async def load(wanted: Job) -> Outcome:
    return await trio.to_thread.run_sync(partial(generate.load, wanted, program="etcd"))


@pytest.mark.parametrize("mix", [{"get": 1}, {"set": 1}, {"get": 4, "set": 1}, {"create": 1}], ids=str)
async def test_every_call_is_answered_and_counted(mix: dict[str, int]) -> None:
    asked: Counter[str] = Counter()
    deleted = 0

    def count(method: str, answer: Fields) -> Fields:
        nonlocal deleted
        asked[method] += 1
        if method == "DeleteRange":
            deleted += answer[2]  # type: ignore[operator]
        return answer

    async with fake_etcd(count) as port:
        outcome = await load(job(port, mix))
    around = 2 * (1 + 1)  # of each connection a folder and a key
    assert outcome.checked == asked.total()
    assert asked["DeleteRange"] == 2
    puts, gets = asked["Put"] - around, asked["Range"]
    assert outcome.sets + outcome.creates <= puts
    assert outcome.gets <= gets
    assert outcome.operations >= 2 * 8
    assert sum(count for _, count in outcome.latency_us) == outcome.operations
    assert deleted == around + (puts if "create" in mix else 0)


async def test_no_more_is_sent_than_there_is_room_for() -> None:
    async with fake_etcd() as port:
        outcome = await load(job(port, {"set": 1}, value_bytes=8000, depth=32))
    assert outcome.sets > 32


def other_value(answer: Fields) -> Fields:
    pair = decode(answer[2])  # type: ignore[arg-type]
    value = pair[5]
    assert isinstance(value, bytes)
    return answer | {2: encode(pair | {5: value[:-1] + bytes([value[-1] ^ 1])})}


def other_key(answer: Fields) -> Fields:
    return answer | {2: encode(decode(answer[2]) | {1: b"/other"})}  # type: ignore[arg-type]


def of_revision(number: int, revision: int) -> Callable[[Fields], Fields]:
    return lambda answer: answer | {number: encode(decode(answer[number]) | {3: revision})}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "spoiled", "message"),
    [
        ("Put", lambda answer: None, "etcd refused a call"),
        ("Put", of_revision(1, 3), "made revision 3, when"),
        ("Put", lambda answer: {}, "without a revision"),
        ("Range", lambda answer: None, "etcd refused a call"),
        ("Range", other_value, "has a value that was not written"),
        ("Range", other_key, "was asked for"),
        ("Range", of_revision(2, 2), "of revision 2 at"),
        ("Range", lambda answer: {1: answer[1]}, "0 keys came"),
        ("DeleteRange", lambda answer: answer | {2: 1}, "1 keys were deleted instead of 2"),
    ],
    ids=["failed put", "revision", "empty", "failed range", "value", "key", "stale", "nothing", "deleted"],
)
async def test_a_wrong_answer_ends_the_run(
    method: str, spoiled: Callable[[Fields], Fields | None], message: str
) -> None:
    asked: Counter[str] = Counter()

    def spoil(called: str, answer: Fields) -> Fields | None:
        asked[called] += 1
        wrong = called == method and (method == "DeleteRange" or asked[called] == LATER)
        return spoiled(answer) if wrong else answer

    async with fake_etcd(spoil) as port:
        with pytest.raises(GeneratorFailed, match=message):
            await load(job(port, {"get": 1} if method == "Range" else {"set": 1}, measure_s=0.5))


@needs_etcd
async def test_etcd_is_counted_right(tmp_path: Path) -> None:
    """What the generator says it did is what etcd holds."""
    with etcd.Etcd(tmp_path / "servers", 1) as servers:
        servers.start()
        assert await trio.to_thread.run_sync(servers.wait_serving) == {1: "standalone"}
        flushed = servers.fsyncs(1)
        wanted = job(servers.peers[1].client, {"set": 2, "get": 1}, nodes=3, keep=True)
        outcome = await load(wanted)
        assert servers.fsyncs(1) > flushed
        versions = [_version(servers.peers[1].client, f"/r/{i}/n{n}") for i in range(2) for n in range(3)]
    puts = sum(versions) + 2  # and a folder of each connection
    sets = sum(versions) - 6
    assert 0 < outcome.sets <= sets
    assert 0 < outcome.gets <= outcome.checked - puts


def _version(port: int, key: str) -> int:
    told = json.dumps({"key": base64.b64encode(key.encode()).decode(), "serializable": True})
    with urlopen(f"http://{HOST}:{port}/v3/kv/range", told.encode()) as answer:
        return int(json.load(answer)["kvs"][0]["version"])


@needs_etcd
def test_an_ensemble_of_etcd_is_measured(tmp_path: Path) -> None:
    workloads = {
        name: Workload(mix=mix, clients=3, depth=4, seconds=0.3) for name, mix in (("s", {"set": 1}), ("g", {"get": 1}))
    }
    contest = Contest({"etcd": etcd.Etcd}, 1, 0.0, tmp_path / "servers", Lines(tmp_path / "lines"))
    writes, reads = contest.run(workloads).runs
    assert writes.note == etcd.Etcd.note
    assert writes.figures["rate_per_s"] > 0
    assert writes.figures["fsyncs_per_s"] > 0
    assert {"leader_share", "follower_share", "generator_share", "rss_mib"} <= writes.figures.keys()
    assert reads.figures["rate_per_s"] > 0
    assert "ping_p99_ms" not in reads.figures

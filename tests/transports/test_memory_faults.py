"""The memory network's faults, on a mock clock: every moment below is exact."""

from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioquorum.errors import ConnectFailed, LinkClosed
from trioquorum.invariants import InvariantViolation
from trioquorum.testing.network import LinkStream, new_network
from trioquorum.transport import Address, Link
from trioquorum_transports.memory import BACKLOG, MemoryLink, MemoryListener, MemoryNetwork, MemoryTransport
from trioquorum_transports.wires import BUFFER_BYTES_MAX, BUFFER_FRAMES_MAX

HOUR_S = 3600.0
FRAME_BYTES_MAX = 4 * BUFFER_BYTES_MAX


@pytest.fixture
async def network(autojump_clock: MockClock) -> MemoryNetwork:
    # pytest-trio runs a test under a clock only when the test itself asks for it.
    assert trio.lowlevel.current_clock() is autojump_clock
    return MemoryNetwork()


@pytest.fixture
async def listener(network: MemoryNetwork) -> AsyncIterator[MemoryListener]:
    bound = await network.transport("b").listen(Address("memory", "b"), frame_bytes_max=FRAME_BYTES_MAX)
    yield bound
    await bound.aclose()


@pytest.fixture
async def ends(network: MemoryNetwork, listener: MemoryListener) -> AsyncIterator[tuple[MemoryLink, MemoryLink]]:
    """The end of node a, which dialled, and the end of node b."""
    a = await dial(network, listener)
    b = await listener.accept()
    yield a, b
    await a.aclose()
    await b.aclose()


async def dial(network: MemoryNetwork, listener: MemoryListener) -> MemoryLink:
    return await network.transport("a").connect(listener.address, frame_bytes_max=FRAME_BYTES_MAX)


async def silent(link: Link) -> bool:
    """True when the link yields nothing for an hour."""
    with trio.move_on_after(HOUR_S):
        await link.receive()
        return False
    return True


async def receive_timed(link: Link) -> tuple[float, bytes]:
    """How long the next frame took, to the microsecond, and the frame."""
    start = trio.current_time()
    frame = await link.receive()
    return round(trio.current_time() - start, 6), frame


# Latency


async def test_without_faults_nothing_takes_time(
    autojump_clock: MockClock, network: MemoryNetwork, listener: MemoryListener
) -> None:
    start = trio.current_time()
    a = await dial(network, listener)
    b = await listener.accept()
    await a.send(b"ping")
    await b.send(await b.receive())
    assert await a.receive() == b"ping"
    await a.aclose()
    with pytest.raises(LinkClosed):
        await b.receive()
    await b.aclose()
    assert trio.current_time() == start


async def test_a_frame_takes_its_latency_and_later_ones_do_not_queue_behind_it(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.delay("a", "b", 0.25)
    for number in range(10):
        await a.send(bytes([number]))
    assert await receive_timed(b) == (0.25, b"\0")
    for number in range(1, 10):
        assert await receive_timed(b) == (0.0, bytes([number]))
    await b.send(b"back")
    assert await receive_timed(a) == (0.25, b"back")


async def test_dialling_takes_a_round_trip(
    autojump_clock: MockClock, network: MemoryNetwork, listener: MemoryListener
) -> None:
    network.delay("b", "a", 0.5)
    start = trio.current_time()
    a = await dial(network, listener)
    assert trio.current_time() - start == pytest.approx(1.0)
    await (await listener.accept()).aclose()
    await a.aclose()


async def test_a_close_travels_behind_the_frames(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.delay("a", "b", 0.5)
    await a.send(b"last words")
    await a.aclose()
    await b.send(b"into the void")
    assert await receive_timed(b) == (0.5, b"last words")
    with pytest.raises(LinkClosed, match="other end"):
        await b.receive()
    with pytest.raises(LinkClosed, match="other end"):
        await b.send(b"")


async def test_a_close_on_its_way_wakes_a_sender_that_waits_for_room(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.delay("a", "b", 0.5)
    await b.send(bytes(BUFFER_BYTES_MAX))
    await a.aclose()
    start = trio.current_time()
    with pytest.raises(LinkClosed):
        await b.send(b"no room")
    assert trio.current_time() - start == pytest.approx(0.5)


async def test_less_latency_never_lets_a_frame_overtake(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.delay("a", "b", 2.0)
    await a.send(b"slow")
    network.delay("a", "b", 0.0)
    await a.send(b"fast")
    assert await receive_timed(b) == (2.0, b"slow")
    assert await receive_timed(b) == (0.0, b"fast")


async def test_jitter_comes_from_the_given_random_and_keeps_order(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends

    async def arrivals(seed: int) -> list[float]:
        network.delay("a", "b", 1.0, jitter_s=0.5, random=Random(seed))
        start = trio.current_time()
        times = []
        for number in range(20):
            await a.send(bytes([number]))
        for number in range(20):
            assert await b.receive() == bytes([number])
            times.append(round(trio.current_time() - start, 6))
        return times

    first, again, other = await arrivals(1), await arrivals(1), await arrivals(2)
    assert first == again != other
    assert 1.0 <= first[0] < first[-1] <= 1.5
    with pytest.raises(ValueError, match="Random"):
        network.delay("a", "b", 1.0, jitter_s=0.5)


# Cuts


async def test_a_cut_holds_frames_until_it_heals(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.cut("a", "b")
    await a.send(b"1")
    await a.send(b"2")
    await b.send(b"3")
    assert await silent(b)
    assert await silent(a)
    network.heal("b", "a")
    assert await b.receive() == b"1"
    assert await b.receive() == b"2"
    assert await a.receive() == b"3"


async def test_healing_wakes_who_waits(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.delay("a", "b", 1.0)
    network.cut("a", "b")
    await a.send(b"held")

    async def heal_later() -> None:
        await trio.sleep(10.0)
        network.heal_all()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heal_later)
        assert await receive_timed(b) == (10.0, b"held")
    await a.send(b"latency stays")
    assert await receive_timed(b) == (1.0, b"latency stays")


async def test_a_one_way_cut_lets_the_other_way_live(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.cut_one_way("a", "b")
    await a.send(b"held")
    await b.send(b"passes")
    assert await a.receive() == b"passes"
    assert await silent(b)
    network.heal("a", "b")
    assert await b.receive() == b"held"


async def test_frames_in_flight_are_held_and_arrived_ones_stay_readable(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.delay("a", "b", 1.0)
    await a.send(b"arrived")
    await trio.sleep(0.6)
    await a.send(b"in flight")
    await trio.sleep(0.6)
    network.cut("a", "b")
    assert await b.receive() == b"arrived"
    assert await silent(b)
    network.heal("a", "b")
    assert await b.receive() == b"in flight"


async def test_a_close_is_held_too(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.cut("a", "b")
    await a.send(b"last words")
    await a.aclose()
    assert await silent(b)
    await b.send(b"nobody knows yet")
    network.heal("a", "b")
    assert await b.receive() == b"last words"
    with pytest.raises(LinkClosed):
        await b.receive()


async def test_a_cut_holds_senders_back_when_the_buffer_is_full(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.cut("a", "b")
    for _ in range(BUFFER_FRAMES_MAX):
        await a.send(b"")
    with trio.move_on_after(HOUR_S) as patience:
        await a.send(b"one too many")
    assert patience.cancelled_caught
    network.heal("a", "b")
    for _ in range(BUFFER_FRAMES_MAX):
        assert await b.receive() == b""
    await a.send(b"next")
    assert await b.receive() == b"next"


async def test_the_buffer_counts_bytes_and_lets_a_large_frame_go_alone(
    autojump_clock: MockClock, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    await a.send(bytes(FRAME_BYTES_MAX))
    with trio.move_on_after(HOUR_S) as patience:
        await a.send(b"x")
    assert patience.cancelled_caught
    await b.receive()
    await a.send(bytes(BUFFER_BYTES_MAX - 1))
    await a.send(b"x")
    with trio.move_on_after(HOUR_S) as patience:
        await a.send(b"x")
    assert patience.cancelled_caught


async def test_other_pairs_are_not_touched(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    for fault in (network.cut, network.stall_links, network.break_links):
        fault("a", "c")
        fault("c", "b")
        fault("c", "a")
    network.delay("a", "c", 5.0)
    network.node_down("c")
    await a.send(b"1")
    assert await receive_timed(b) == (0.0, b"1")


async def test_a_stalled_link_takes_everything_and_delivers_nothing(
    autojump_clock: MockClock, network: MemoryNetwork, listener: MemoryListener, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    await a.send(b"arrived")
    network.stall_links("b", "a")
    await a.send(b"lost")
    await b.send(b"lost")
    assert await b.receive() == b"arrived"
    network.heal_all()
    assert await silent(a)
    await a.aclose()
    assert await silent(b)
    # A link dialled since is well.
    newer = await dial(network, listener)
    await newer.send(b"1")
    other = await listener.accept()
    assert await receive_timed(other) == (0.0, b"1")
    await newer.aclose()
    await other.aclose()


@pytest.mark.parametrize(("source", "target"), [("a", "b"), ("b", "a")])
async def test_dialling_hangs_while_either_way_is_cut(
    autojump_clock: MockClock, network: MemoryNetwork, listener: MemoryListener, source: str, target: str
) -> None:
    network.cut_one_way(source, target)
    with trio.move_on_after(HOUR_S) as patience:
        await dial(network, listener)
    assert patience.cancelled_caught

    async def heal_later() -> None:
        await trio.sleep(3.0)
        network.heal("a", "b")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heal_later)
        start = trio.current_time()
        a = await dial(network, listener)
        assert trio.current_time() - start == pytest.approx(3.0)
    b = await listener.accept()
    await a.send(b"hello")
    assert await b.receive() == b"hello"
    await a.aclose()
    await b.aclose()


async def test_a_cut_hides_that_nobody_listens(autojump_clock: MockClock, network: MemoryNetwork) -> None:
    nowhere = Address("memory", "b", 99)
    with pytest.raises(ConnectFailed):
        await network.transport("a").connect(nowhere, frame_bytes_max=10)
    network.cut("a", "b")
    with trio.move_on_after(HOUR_S) as patience:
        await network.transport("a").connect(nowhere, frame_bytes_max=10)
    assert patience.cancelled_caught


# Ends by force


@pytest.mark.parametrize("cut_first", [False, True])
async def test_a_break_ends_both_ends_at_once(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink], *, cut_first: bool
) -> None:
    a, b = ends
    await b.send(bytes(BUFFER_BYTES_MAX))
    if cut_first:
        network.cut("a", "b")
    ended = []

    async def expect_end(name: str, call: Callable[[], Any]) -> None:
        with pytest.raises(LinkClosed, match="broke"):
            await call()
        ended.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_end, "b sends", lambda: b.send(b"no room"))
        nursery.start_soon(expect_end, "b receives", b.receive)
        await wait_all_tasks_blocked()
        assert ended == []
        network.break_links("b", "a")
    assert sorted(ended) == ["b receives", "b sends"]
    with pytest.raises(LinkClosed, match="broke"):
        await a.send(b"")
    network.heal_all()
    with pytest.raises(LinkClosed, match="broke"):
        await b.receive()


async def test_a_break_loses_what_is_in_flight_but_not_what_arrived(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    await a.send(b"arrived")
    network.delay("a", "b", 1.0)
    await a.send(b"in flight")
    network.break_links("a", "b")
    assert await b.receive() == b"arrived"
    for _ in range(2):
        with pytest.raises(LinkClosed):
            await b.receive()
        await trio.sleep(2.0)


async def test_a_node_that_goes_down_takes_its_links_and_listeners_along(
    autojump_clock: MockClock, network: MemoryNetwork, listener: MemoryListener, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    pending = await dial(network, listener)
    elsewhere = await network.transport("c").listen(Address("memory", "c", 1), frame_bytes_max=10)
    second = await network.transport("b").listen(Address("memory", "b", 2), frame_bytes_max=10)
    refused = []

    async def accept_from(bound: MemoryListener) -> None:
        with pytest.raises(LinkClosed):
            await bound.accept()
        refused.append(bound)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_from, second)
        await wait_all_tasks_blocked()
        network.node_down("b")
    assert refused == [second]
    for link in (a, b, pending):
        with pytest.raises(LinkClosed):
            await link.receive()
    with pytest.raises(ConnectFailed):
        await dial(network, listener)
    third = await network.transport("a").connect(elsewhere.address, frame_bytes_max=10)
    await pending.aclose()

    again = await network.transport("b").listen(listener.address, frame_bytes_max=10)
    after = await dial(network, again)
    accepted = await again.accept()
    await after.send(b"back")
    assert await accepted.receive() == b"back"
    for each in (third, elsewhere, again, after, accepted):
        await each.aclose()


async def test_a_node_that_dialled_goes_down_too(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    network.node_down("a")
    with pytest.raises(LinkClosed, match="a went down"):
        await ends[1].receive()


# Names and books


async def test_a_full_backlog_holds_diallers_back(
    autojump_clock: MockClock, network: MemoryNetwork, listener: MemoryListener
) -> None:
    dialled = [await dial(network, listener) for _ in range(BACKLOG)]
    late: list[MemoryLink] = []

    async def dial_late() -> None:
        late.append(await dial(network, listener))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial_late)
        await wait_all_tasks_blocked()
        assert late == []
        accepted = [await listener.accept()]
    accepted += [await listener.accept() for _ in range(BACKLOG)]
    for end in (*dialled, *late, *accepted):
        await end.aclose()


async def test_remote_names_the_node_that_dialled(
    autojump_clock: MockClock, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    assert (a.remote, b.remote) == ("memory://b", "memory://a")


async def test_ports_are_part_of_the_name(autojump_clock: MockClock, network: MemoryNetwork) -> None:
    transport = network.transport("b")
    bound = [await transport.listen(Address("memory", "b", port), frame_bytes_max=20) for port in (0, 1, 2)]
    links = [await transport.connect(Address("memory", "b", port), frame_bytes_max=20) for port in (0, 1, 2)]
    for each, link in zip(bound, links, strict=True):
        accepted = await each.accept()
        await link.send(str(each.address).encode())
        assert await accepted.receive() == str(each.address).encode()
        for open_thing in (link, accepted, each):
            await open_thing.aclose()


async def test_networks_do_not_know_each_other_and_the_default_is_shared(
    autojump_clock: MockClock, network: MemoryNetwork
) -> None:
    name = Address("memory", "only-here")
    listener = await MemoryTransport().listen(name, frame_bytes_max=10)
    with pytest.raises(ConnectFailed):
        await network.transport("a").connect(name, frame_bytes_max=10)
    link = await MemoryTransport().connect(name, frame_bytes_max=10)
    await link.aclose()
    await listener.aclose()


async def test_the_network_forgets_links_that_ended(
    autojump_clock: MockClock, network: MemoryNetwork, listener: MemoryListener
) -> None:
    closed, broken = await dial(network, listener), await dial(network, listener)
    closed_there, _ = await listener.accept(), await listener.accept()
    assert len(network._wires) == 2
    await closed.aclose()
    assert len(network._wires) == 2
    await closed_there.aclose()
    assert len(network._wires) == 1
    network.break_links("a", "b")
    assert len(network._wires) == 0
    await broken.aclose()


async def test_two_tasks_that_receive_on_one_link_are_a_bug(
    autojump_clock: MockClock, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, _ = ends
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.receive)
        await wait_all_tasks_blocked()
        with pytest.raises(InvariantViolation):
            await a.receive()
        nursery.cancel_scope.cancel()


async def test_a_tap_is_told_what_leaves_and_from_where() -> None:
    network = MemoryNetwork()
    told: list[tuple[tuple[str, str], int, bool, bytes, int]] = []
    network.tap = lambda *frame: told.append(frame)
    listener = await network.transport("b").listen(Address("memory", "b", 7), frame_bytes_max=100)
    dialled = await network.transport("a").connect(Address("memory", "b", 7), frame_bytes_max=100)
    again = await network.transport("a").connect(Address("memory", "b", 7), frame_bytes_max=100)
    accepted = await listener.accept()
    await dialled.send(b"hi")
    await accepted.send(b"ho")
    await again.send(b"hi")
    assert told == [
        (("a", "b"), 7, True, b"hi", 1),
        (("a", "b"), 7, False, b"ho", 1),
        (("a", "b"), 7, True, b"hi", 2),
    ]


# Bandwidth, ways that differ, and breaks in the middle of a frame


async def test_a_narrow_way_takes_frames_one_after_the_other(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.delay("a", "b", 0.25)
    network.bandwidth("a", "b", 1000)
    for size in (500, 100, 0):
        await a.send(bytes(size))
    await b.send(bytes(200))
    assert (await receive_timed(b))[0] == 0.75
    assert (await receive_timed(b))[0] == 0.1
    assert (await receive_timed(b))[0] == 0.0
    assert await receive_timed(a) == (0.0, bytes(200))  # the other way has a width of its own
    await trio.sleep(100.0)
    await a.send(bytes(1000))
    assert (await receive_timed(b))[0] == 1.25
    network.bandwidth("a", "b", None)
    await a.send(bytes(1000))
    assert (await receive_timed(b))[0] == 0.25


async def test_links_share_a_narrow_way(
    autojump_clock: MockClock, network: MemoryNetwork, listener: MemoryListener
) -> None:
    network.bandwidth("a", "b", 100)
    first, second = await dial(network, listener), await dial(network, listener)
    first_there, second_there = await listener.accept(), await listener.accept()
    await first.send(bytes(100))
    await second.send(bytes(100))
    assert (await receive_timed(second_there))[0] == 2.0
    assert (await receive_timed(first_there))[0] == 0.0
    for link in (first, second, first_there, second_there):
        await link.aclose()


async def test_two_ways_may_take_different_times(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.delay_one_way("a", "b", 2.0)
    network.delay_one_way("b", "a", 0.5)
    await a.send(b"slow")
    await b.send(b"fast")
    assert await receive_timed(a) == (0.5, b"fast")
    assert await receive_timed(b) == (1.5, b"slow")


async def test_a_link_breaks_in_the_middle_of_a_frame(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.delay("a", "b", 1.0)
    await a.send(b"whole")
    network.break_at("a", "b", 1.0, random=Random(1))
    await a.send(b"never seen")
    with pytest.raises(LinkClosed, match="the link broke"):
        await a.send(b"after")
    with pytest.raises(LinkClosed, match="the link broke"):
        await a.receive()
    assert await receive_timed(b) == (1.0, b"whole")
    with pytest.raises(LinkClosed, match="the link broke"):
        await b.receive()
    with pytest.raises(LinkClosed, match="the link broke"):
        await b.send(b"after")


async def read_to_end(stream: LinkStream) -> bytes:
    data = b""
    while True:
        try:
            data += await stream.receive()
        except anyio.EndOfStream:
            return data


async def test_of_a_stream_a_part_of_the_frame_arrives(
    autojump_clock: MockClock, network: MemoryNetwork, listener: MemoryListener
) -> None:
    """Then the end: what the user of a byte stream sees when a connection is reset."""
    frame = bytes(range(100))
    lengths = []
    for seed in range(20):
        network.break_at("a", "b", 1.0, random=Random(seed), stream_ports=[listener.address.port])
        a = await dial(network, listener)
        b = await listener.accept()
        await a.send(frame)
        got = await read_to_end(LinkStream(b))
        assert frame.startswith(got)
        lengths.append(len(got))
        await a.aclose()
        await b.aclose()
    assert len(set(lengths)) > 10
    assert max(lengths) < len(frame)
    assert network.left() == ([], ["b:0"])


async def test_links_break_as_often_as_they_are_told_to(
    autojump_clock: MockClock, network: MemoryNetwork, listener: MemoryListener
) -> None:
    async def broken(seed: int, rate: float) -> list[int]:
        network.break_at("a", "b", rate, random=Random(seed))
        numbers = []
        for number in range(200):
            a = await dial(network, listener)
            b = await listener.accept()
            await a.send(b"frame")
            try:
                await b.receive()
            except LinkClosed:
                numbers.append(number)
            await a.aclose()
            await b.aclose()
        return numbers

    first = await broken(1, 0.1)
    assert first == await broken(1, 0.1) != await broken(2, 0.1)
    assert 5 < len(first) < 50
    assert await broken(1, 0.0) == []


async def test_a_break_behind_a_cut_is_seen_when_it_heals(
    autojump_clock: MockClock, network: MemoryNetwork, ends: tuple[MemoryLink, MemoryLink]
) -> None:
    a, b = ends
    network.cut("a", "b")
    await a.send(b"held")
    network.break_at("a", "b", 1.0, random=Random(1))
    await a.send(b"lost")

    async def heal_later() -> None:
        await trio.sleep(3.0)
        network.heal("a", "b")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heal_later)
        assert await receive_timed(b) == (3.0, b"held")
    with pytest.raises(LinkClosed, match="the link broke"):
        await b.receive()


async def test_a_simulation_finds_its_network_by_entry_point(autojump_clock: MockClock) -> None:
    network, other = new_network(), new_network()
    address = Address("memory", "b", 1)
    listener = await network.transport("b").listen(address, frame_bytes_max=10)
    with pytest.raises(ConnectFailed):
        await other.transport("a").connect(address, frame_bytes_max=10)
    link = await network.transport("a").connect(address, frame_bytes_max=10)
    assert network.left() == (["a to b:1"], ["b:1"])
    await link.aclose()
    await listener.aclose()
    assert network.left() == ([], [])

"""Election links on the memory network: who keeps them, what is resent, who cannot hurt them."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.election.kit import Net, Unreachable, address, note
from trioquorum.errors import LinkClosed
from trioquorum.events import Events, FrameDropped, LinkDown, LinkRefused, LinkUp
from trioquorum.limits import Limits
from trioquorum.peer.links import ElectionMesh
from trioquorum.peer.mesh_peer import YOUNG_LINK_S
from trioquorum.transport import Address, Link, Transports
from trioquorum.wire.election import Hello, encode_hello, encode_notification
from trioquorum.zab.mesh import SILENT_RESENDS_MAX, is_dead

ELECTION_FRAME_BYTES_MAX = Limits().election_frame_bytes_max


@asynccontextmanager
async def running(
    *sids: int, limits: Limits | None = None, start: tuple[int, ...] | None = None, guests: bool = False
) -> AsyncIterator[Net]:
    net = Net(sids, limits, guests=guests)
    async with trio.open_nursery() as nursery:
        await net.start(nursery, *(sids if start is None else start))
        net.nursery = nursery
        yield net
        nursery.cancel_scope.cancel()


async def dial(net: Net, frm: str, to: int, first: bytes | None) -> Link:
    link = await net.network.transport(frm).connect(address(to), frame_bytes_max=ELECTION_FRAME_BYTES_MAX)
    if first is not None:
        await link.send(first)
    return link


def hello(sid: int) -> bytes:
    return encode_hello(Hello(sid=sid, address=str(address(sid))))


async def assert_closed(link: Link) -> None:
    with pytest.raises(LinkClosed):
        await link.receive()
    await link.aclose()


async def test_everybody_reaches_everybody_over_one_link_per_pair(autojump_clock: MockClock) -> None:
    async with running(1, 2, 3) as net:
        for sid, mesh in net.meshes.items():
            for other in {1, 2, 3} - {sid}:
                mesh.send(other, note(sid))
        got = {sid: {await mesh.receive() for _ in range(2)} for sid, mesh in net.meshes.items()}
        assert got == {sid: {(other, note(other)) for other in {1, 2, 3} - {sid}} for sid in (1, 2, 3)}
        assert trio.current_time() < 0.01

        # A call that crossed ours changes nothing: every link came up once and stayed.
        await trio.sleep(10)
        for sid in net.sids:
            assert sorted(event.peer for event in net.seen(sid, LinkUp)) == sorted({1, 2, 3} - {sid})
            assert net.seen(sid, LinkDown) == []


async def test_the_higher_id_keeps_its_link(autojump_clock: MockClock) -> None:
    async with running(1, 2) as net:
        net.meshes[1].send(2, note(1))
        assert await net.meshes[2].receive() == (1, note(1))
        # 1 dialled, was called back, and the link is the one that 2 dialled.
        assert [event.address for event in net.seen(2, LinkUp)] == ["memory://p1"]
        assert [event.address for event in net.seen(1, LinkUp)] == ["memory://p2"]
        assert trio.current_time() < 0.01


async def test_only_the_newest_message_waits(autojump_clock: MockClock) -> None:
    async with running(1, 2, start=(2,)) as net:
        for round_ in (1, 2, 3):
            net.meshes[2].send(1, note(2, round_))
        assert not net.meshes[2].any_queue_idle()
        await trio.sleep(30)
        await net.start(net.nursery, 1)
        assert await net.meshes[1].receive() == (2, note(2, 3))
        assert net.meshes[2].any_queue_idle()
        with trio.move_on_after(60) as nothing_more:
            await net.meshes[1].receive()
        assert nothing_more.cancelled_caught


async def test_the_last_message_is_sent_again_on_a_new_link(autojump_clock: MockClock) -> None:
    async with running(1, 2) as net:
        net.meshes[2].send(1, note(2, 7))
        assert await net.meshes[1].receive() == (2, note(2, 7))
        await trio.sleep(5)
        net.network.break_links("p1", "p2")
        await trio.sleep(5)
        # Nothing to say, no link.
        assert net.linked(1) == net.linked(2) == set()
        net.meshes[2].connect_all()
        assert await net.meshes[1].receive() == (2, note(2, 7))
        assert net.linked(1) == {2}


@pytest.mark.parametrize("caller", [1, 2])
async def test_a_message_brings_a_broken_link_back_at_once(caller: int, autojump_clock: MockClock) -> None:
    other = 3 - caller
    async with running(1, 2) as net:
        net.meshes[caller].send(other, note(caller, 1))
        await net.meshes[other].receive()
        await trio.sleep(5)
        net.network.break_links("p1", "p2")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        net.meshes[caller].send(other, note(caller, 2))
        assert await net.meshes[other].receive() == (caller, note(caller, 2))
        assert trio.current_time() - began < 0.01


async def test_a_dead_address_delays_nobody_and_is_not_hammered(autojump_clock: MockClock) -> None:
    async with running(1, 2, 3, 4, start=(2, 4)) as net:
        net.network.cut("p4", "p1")  # dials hang until the timeout
        for other in (1, 2, 3):  # 3 refuses
            net.meshes[4].send(other, note(4))
        assert await net.meshes[2].receive() == (4, note(4))
        assert trio.current_time() < 0.01
        assert net.meshes[4].any_queue_idle()

        await trio.sleep(600)
        assert net.linked(4) == {2}
        await net.start(net.nursery, 1, 3)
        net.network.heal("p4", "p1")
        began = trio.current_time()
        assert await net.meshes[1].receive() == (4, note(4))
        assert await net.meshes[3].receive() == (4, note(4))
        assert trio.current_time() - began <= net.limits.redial_ms_max / 1000


async def test_dials_back_off_with_jitter_and_a_call_ends_the_pause(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    dials: list[float] = []
    net = Net([1])
    transports = Transports(memory=net.network.transport("p1"), nowhere=Unreachable(dials))
    limits = Limits(redial_ms_min=100, redial_ms_max=800)
    there = {2: Address("nowhere", "p2")}
    mesh = ElectionMesh(1, there, address(1), transports, limits, Events(), 5000, random.Random(1))
    await nursery.start(mesh.run)
    await trio.sleep(60)
    assert dials == []  # nobody asked

    mesh.send(2, note(1))
    await trio.sleep(60)
    pauses = [later - earlier for earlier, later in pairwise(dials)]
    for pause, longest in zip(pauses, [0.1, 0.2, 0.4, *[0.8] * len(pauses)], strict=False):
        assert longest / 2 <= pause <= longest
    assert len({round(pause, 6) for pause in pauses[4:]}) > 10

    began = trio.current_time()
    mesh.connect_all()
    await trio.testing.wait_all_tasks_blocked()
    assert dials[-1] == began
    nursery.cancel_scope.cancel()


async def test_a_dial_that_hangs_is_given_up(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    dials: list[float] = []
    net = Net([1])
    transports = Transports(memory=net.network.transport("p1"), nowhere=Unreachable(dials, hangs=True))
    there = {2: Address("nowhere", "p2")}
    mesh = ElectionMesh(1, there, address(1), transports, net.limits, Events(), 5000, random.Random(1))
    await nursery.start(mesh.run)
    mesh.send(2, note(1))
    await trio.sleep(20)
    assert len(dials) == 4
    for earlier, later in pairwise(dials):
        assert 5 < later - earlier < 6
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("caller", [1, 2])
async def test_a_call_answered_by_a_link_is_forgotten(caller: int, autojump_clock: MockClock) -> None:
    async with running(1, 2) as net:
        net.network.delay("p1", "p2", 0.1)
        net.meshes[caller].connect_all()
        await trio.sleep(0.05)
        net.meshes[caller].connect_all()  # while it dials
        await trio.sleep(10)
        assert net.linked(1) == {2}
        net.network.break_links("p1", "p2")
        await trio.sleep(10)
        assert net.linked(1) == set()


@pytest.mark.parametrize(
    ("silent_resends", "link_is_young", "dead"),
    [(0, False, False), (SILENT_RESENDS_MAX - 1, False, False), (SILENT_RESENDS_MAX, False, True), (99, True, False)],
)
def test_a_link_is_dead_when_it_is_silent_and_not_young(silent_resends: int, link_is_young: bool, dead: bool) -> None:
    assert is_dead(silent_resends, link_is_young=link_is_young) is dead


async def test_whatever_comes_is_a_sign_of_life(autojump_clock: MockClock) -> None:
    async with running(1, 2, start=(1,)) as net:
        link = await dial(net, "p2", 1, hello(2))
        for _ in range(5):
            for _ in range(SILENT_RESENDS_MAX):
                await trio.sleep(YOUNG_LINK_S)
                net.meshes[1].send_again(2, note(1))
            await link.send(b"no notification")
        await trio.testing.wait_all_tasks_blocked()
        assert net.seen(1, LinkDown) == []
        for _ in range(SILENT_RESENDS_MAX + 1):
            net.meshes[1].send_again(2, note(1))
        await trio.testing.wait_all_tasks_blocked()
        assert [event.reason for event in net.seen(1, LinkDown)] == ["nothing came back, though we sent again 2 times"]
        await link.aclose()


async def test_a_young_link_may_be_silent(autojump_clock: MockClock) -> None:
    async with running(1, 2, start=(1,)) as net:
        link = await dial(net, "p2", 1, hello(2))
        await trio.sleep(YOUNG_LINK_S - 0.01)
        for _ in range(10):
            net.meshes[1].send_again(2, note(1))
            await trio.testing.wait_all_tasks_blocked()
        assert net.seen(1, LinkDown) == []
        await link.aclose()


async def test_sending_again_to_an_absent_peer_leaves_the_backoff(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    dials: list[float] = []
    net = Net([1])
    transports = Transports(memory=net.network.transport("p1"), nowhere=Unreachable(dials))
    there = {2: Address("nowhere", "p2")}
    mesh = ElectionMesh(1, there, address(1), transports, Limits(), Events(), 5000, random.Random(1))
    await nursery.start(mesh.run)
    for _ in range(600):
        mesh.send_again(2, note(1))
        await trio.sleep(0.1)
    assert len(dials) < 2 * 60 / (net.limits.redial_ms_max / 1000) + 10
    nursery.cancel_scope.cancel()


async def test_a_dead_peer_is_noticed_at_once(autojump_clock: MockClock) -> None:
    async with running(1, 2) as net:
        net.meshes[1].send(2, note(1))
        await net.meshes[2].receive()
        await trio.sleep(100)
        assert net.linked(1) == {2}  # silence is no reason to end a link
        began = trio.current_time()
        await net.stop(2)
        assert net.linked(1) == set()
        assert trio.current_time() == began


async def test_a_caller_has_no_link_so_an_old_one_is_dead(autojump_clock: MockClock) -> None:
    async with running(1, 2) as net:
        net.meshes[2].send(1, note(2, 1))
        await net.meshes[1].receive()
        await trio.sleep(YOUNG_LINK_S)
        # As after a power failure of 1: 2 has not heard of its link's end.
        await assert_closed(await dial(net, "p1", 2, hello(1)))
        # 2 called back and sent its last message again.
        assert await net.meshes[1].receive() == (2, note(2, 1))
        assert [event.reason for event in net.seen(2, LinkDown)] == ["the other end has no link any more"]
        assert len(net.seen(2, LinkUp)) == 2


async def test_a_call_that_crossed_a_young_link_leaves_it(autojump_clock: MockClock) -> None:
    async with running(1, 2) as net:
        net.meshes[2].send(1, note(2, 1))
        await net.meshes[1].receive()
        await assert_closed(await dial(net, "p1", 2, hello(1)))
        await trio.sleep(10)
        assert net.seen(2, LinkDown) == []
        assert net.seen(2, LinkRefused) == []


async def test_a_newer_link_replaces_an_older_one(autojump_clock: MockClock) -> None:
    async with running(1, 2) as net:
        net.meshes[2].send(1, note(2, 1))
        await net.meshes[1].receive()
        link = await dial(net, "p2", 1, hello(2))
        await link.send(encode_notification(note(2, 5)))
        assert await net.meshes[1].receive() == (2, note(2, 5))
        await trio.testing.wait_all_tasks_blocked()
        assert [event.reason for event in net.seen(1, LinkDown)] == ["a newer link took its place"]
        net.meshes[1].send(2, note(1, 6))
        assert await link.receive() == encode_notification(note(1, 6))
        await link.aclose()


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"", "not an introduction"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "not an introduction"),
        (b"\xff" * 2000, "not an introduction"),
        (b"\x00" * 5000, "5000 bytes"),
        (encode_notification(note(2)), "not an introduction"),
        (encode_hello(Hello(sid=1, address="memory://p1", protocol=2)), "protocol 2"),
        (hello(1), "it says it is us"),
        (hello(9), "peer 9: not in the configuration"),
        (None, "it does not say who it is"),
    ],
)
async def test_hostile_callers_are_turned_away(first: bytes | None, reason: str, autojump_clock: MockClock) -> None:
    async with running(1, 2) as net:
        began = trio.current_time()
        await assert_closed(await dial(net, "mallory", 1, first))
        waited = net.limits.handshake_timeout_ms / 1000 if first is None else 0
        assert trio.current_time() - began == pytest.approx(waited, abs=0.01)
        (event,) = net.seen(1, LinkRefused)
        assert event.address == "memory://mallory"
        assert reason in event.reason

        # The listener lives, and so does everybody else.
        net.meshes[2].send(1, note(2))
        assert await net.meshes[1].receive() == (2, note(2))


async def test_a_caller_that_hangs_up_is_forgotten(autojump_clock: MockClock) -> None:
    async with running(1, 2) as net:
        for _ in range(3):
            await (await dial(net, "mallory", 1, None)).aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert len(net.seen(1, LinkRefused)) == 3
        net.meshes[2].send(1, note(2))
        assert await net.meshes[1].receive() == (2, note(2))


async def test_callers_that_say_nothing_are_bounded(autojump_clock: MockClock) -> None:
    async with running(1, 2, limits=Limits(handshake_links_max=2)) as net:
        silent = [await dial(net, "mallory", 1, None) for _ in range(3)]
        # Who has been silent longest gives way.
        await assert_closed(silent.pop(0))
        assert [event.reason for event in net.seen(1, LinkRefused)] == ["too many callers have not said who they are"]
        # Their time is up soon, and then there is room again.
        for link in silent:
            await assert_closed(link)
        net.meshes[2].send(1, note(2))
        assert await net.meshes[1].receive() == (2, note(2))


async def test_links_that_are_up_take_no_room_from_callers(autojump_clock: MockClock) -> None:
    async with running(1, 2, 3, limits=Limits(handshake_links_max=1)) as net:
        for sid in (2, 3):
            net.meshes[sid].send(1, note(sid))
            assert await net.meshes[1].receive() == (sid, note(sid))
        assert net.linked(1) == {2, 3}


async def test_a_message_without_sense_is_dropped_and_the_link_lives(autojump_clock: MockClock) -> None:
    async with running(1, 2, start=(1,)) as net:
        link = await dial(net, "p2", 1, hello(2))
        for frame in (b"", b"\xff", b"\x95\x07\x01\x01\x01\x01", b"[1, 2]", bytes(1000)):
            await link.send(frame)
        await link.send(encode_notification(note(2)))
        assert await net.meshes[1].receive() == (2, note(2))
        assert [event.peer for event in net.seen(1, FrameDropped)] == [2] * 5
        assert net.linked(1) == {2}
        await link.aclose()


async def test_a_frame_over_the_limit_ends_the_link_only(autojump_clock: MockClock) -> None:
    async with running(1, 2, limits=Limits(election_frame_bytes_max=4096)) as net:
        link = await dial(net, "p2", 1, hello(2))
        await link.send(bytes(4097))
        await assert_closed(link)
        await trio.testing.wait_all_tasks_blocked()
        (down,) = net.seen(1, LinkDown)
        assert "4097 bytes" in down.reason
        net.meshes[2].send(1, note(2))
        assert await net.meshes[1].receive() == (2, note(2))


async def test_the_inbox_is_bounded_and_keeps_the_newest(autojump_clock: MockClock) -> None:
    async with running(1, 2, limits=Limits(election_inbox_max=10), start=(1,)) as net:
        link = await dial(net, "p2", 1, hello(2))
        for round_ in range(50):
            await link.send(encode_notification(note(2, round_)))
        await trio.testing.wait_all_tasks_blocked()
        assert [(await net.meshes[1].receive())[1].round for _ in range(10)] == list(range(40, 50))
        await link.aclose()


async def test_a_peer_that_does_not_read_delays_nobody(autojump_clock: MockClock) -> None:
    async with running(1, 2, 3, start=(1, 3)) as net:
        link = await dial(net, "p2", 1, hello(2))
        big = msgspec.structs.replace(note(1), config="x" * 200_000)
        for _ in range(50):  # more than a link buffers
            net.meshes[1].send(2, big)
            await trio.testing.wait_all_tasks_blocked()
        net.meshes[1].send(3, note(1))
        assert await net.meshes[3].receive() == (1, note(1))
        assert trio.current_time() < 0.01
        await link.aclose()


async def test_a_message_caught_in_a_breaking_link_goes_over_the_next_one(autojump_clock: MockClock) -> None:
    async with running(1, 2, start=(1,)) as net:
        link = await dial(net, "p2", 1, hello(2))
        for round_ in (1, 2, 3):  # the link buffers two of these
            net.meshes[1].send(2, msgspec.structs.replace(note(1, round_), config="x" * 400_000))
            await trio.testing.wait_all_tasks_blocked()
        assert net.meshes[1].any_queue_idle()
        net.network.break_links("p1", "p2")
        await net.start(net.nursery, 2)
        sender, message = await net.meshes[2].receive()
        assert (sender, message.round) == (1, 3)
        await link.aclose()


async def test_an_address_in_use_is_an_error_at_start(autojump_clock: MockClock) -> None:
    async with running(1, 2) as net:
        with pytest.raises(OSError, match="in use") as raised:
            await net.mesh(1).run()
        assert raised.value.filename == "memory://p1"


async def test_nothing_is_left_when_it_stops(autojump_clock: MockClock) -> None:
    async with running(1, 2, 3) as net:
        for sid, mesh in net.meshes.items():
            for other in {1, 2, 3} - {sid}:
                mesh.send(other, note(sid))
        await trio.sleep(1)
        silent = await dial(net, "mallory", 1, None)
        await trio.testing.wait_all_tasks_blocked()
    assert [net.linked(sid) for sid in net.sids] == [set(), set(), set()]
    await assert_closed(silent)
    async with trio.open_nursery() as nursery:
        await net.start(nursery, 1)  # the address is free again
        nursery.cancel_scope.cancel()


async def test_members_may_change_while_it_stops(autojump_clock: MockClock) -> None:
    net = Net([1, 2])
    async with trio.open_nursery() as nursery:
        await net.start(nursery, 1)
        nursery.cancel_scope.cancel()
    net.meshes[1].set_members({1: address(1), 3: address(3)})
    net.meshes[1].send(3, note(1))
    await trio.testing.wait_all_tasks_blocked()
    assert net.linked(1) == set()


async def test_alone(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    net = Net([1])
    await net.start(nursery, 1)
    net.meshes[1].connect_all()
    assert net.meshes[1].any_queue_idle()
    nursery.cancel_scope.cancel()


async def test_a_guest_is_heard_while_its_link_lasts(autojump_clock: MockClock) -> None:
    """One place for guests: it is taken until the link ends, whatever the members do meanwhile."""
    async with running(1, 2, guests=True, limits=Limits(election_guests_max=1)) as net:
        mesh = net.meshes[1]
        first = await dial(net, "p7", 1, hello(7))
        await first.send(encode_notification(note(7)))
        assert await mesh.receive() == (7, note(7))
        await assert_closed(await dial(net, "p8", 1, hello(8)))
        mesh.set_members({1: address(1), 2: address(2)})
        mesh.connect_all()
        mesh.send(7, note(1))
        assert await first.receive() == encode_notification(note(1))
        await first.aclose()
        second = await dial(net, "p8", 1, hello(8))
        await second.send(encode_notification(note(8)))
        assert await mesh.receive() == (8, note(8))
        # Who is gone gets nothing.
        mesh.send(7, note(1))
        mesh.send_again(7, note(1))
        assert net.linked(1) == {2, 8}
        await second.aclose()


async def test_who_has_not_heard_that_it_moved_is_called_where_it_is(autojump_clock: MockClock) -> None:
    """It asks to be called back; at the address it is to have nobody answers."""
    async with running(1, 2) as net:
        net.meshes[2].set_members({1: Address("memory", "p1", 7001), 2: address(2)})
        net.meshes[1].send(2, note(1))
        net.meshes[2].send(1, note(2))
        with trio.fail_after(1):
            assert await net.meshes[1].receive() == (2, note(2))
            assert await net.meshes[2].receive() == (1, note(1))


@pytest.mark.parametrize(
    ("sid", "of"),
    [(1, "memory://p9:1"), (256, "memory://p9:1"), (9, "memory://0.0.0.0:1"), (9, "nowhere"), (9, "pigeon://p9:1")],
)
async def test_who_cannot_be_a_guest(sid: int, of: str, autojump_clock: MockClock) -> None:
    async with running(1, guests=True) as net:
        await assert_closed(await dial(net, "p9", 1, encode_hello(Hello(sid=sid, address=of))))
        assert [event.reason.partition(":")[0] for event in net.seen(1, LinkRefused)] == [f"peer {sid}"]

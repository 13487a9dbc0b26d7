"""The table of upstream's LearnerHandlerTest and its corners, as scripts; the size rule of the log on disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.scripts.runner import Command, run_script, scripts
from tests.zab.kit import payload, show, show_all, zx
from trioquorum.zab.sync_plan import DiskRecords, Record, SyncView, log_size_usable, plan_sync, wants_disk


def records(text: str) -> list[Record]:
    """``2,3,5..8``; epochs as in ``1.1,1.2``."""
    found: list[Record] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("..")
        found += [(zxid, payload(zxid)) for zxid in range(zx(first), zx(last or first) + 1)]
    return found


def stage() -> Callable[[Command], str]:
    view = SyncView(last_processed=0, committed=[])
    disk: list[Record] | None = None

    def run(command: Command) -> str:
        nonlocal view, disk
        if command.name == "leader":
            committed, force = records(command.options.get("C", "")), "snapshots" in command.words
            view = SyncView(last_processed=zx(command.options["L"]), committed=committed, force_snapshot=force)
            disk = records(command.options["T"]) if "T" in command.options else None
            return ""
        peer = zx(command.words[0])
        wanted = wants_disk(peer, view)
        plan = plan_sync(peer, view, DiskRecords(disk) if wanted and disk is not None else None)
        assert all(data == payload(zxid) for zxid, data in plan.proposals)
        source = " (disk)" if wanted and disk is not None else ""
        first = f"{show(peer)}{source}: {plan.mode} {show(plan.zxid)}"
        return f"{first}, {show_all(zxid for zxid, _ in plan.proposals)}, forward from {show(plan.current)}"

    return run


@pytest.mark.parametrize("path", scripts("sync"), ids=lambda path: path.stem)
def test_script(path: Path, request: pytest.FixtureRequest) -> None:
    run_script(path, stage(), rewrite=request.config.getoption("--rewrite", default=False))


@pytest.mark.parametrize(
    ("log", "snapshot", "factor", "usable"),
    [(33, 100, 0.33, True), (34, 100, 0.33, False), (10**9, 0, 0.33, True), (10**9, 100, 0.0, True), (0, 9, -1, False)],
)
def test_the_log_is_read_when_it_is_small_against_the_snapshot(
    log: int, snapshot: int, factor: float, usable: bool
) -> None:
    assert log_size_usable(log, snapshot, factor) is usable


@given(st.data())
def test_a_plan_leads_to_the_leaders_history(data: st.DataObject) -> None:
    """Whatever prefix plus own tail a learner has, following the plan gives exactly the leader's transactions."""
    sizes = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=5))
    history = [(epoch << 32) + counter for epoch, size in enumerate(sizes, 1) for counter in range(1, size + 1)]
    kept = data.draw(st.integers(0, len(history)))  # in the committed log
    on_disk = data.draw(st.integers(0, len(history)))
    committed = [(zxid, payload(zxid)) for zxid in history[len(history) - kept :]]
    disk = DiskRecords([(zxid, payload(zxid)) for zxid in history[len(history) - on_disk :]])
    epoch = len(sizes) + 1
    last_processed = data.draw(st.sampled_from([epoch << 32, history[-1] if history else 0]))

    mine = history[: data.draw(st.integers(0, len(history)))]
    peer = mine[-1] if mine else 0
    if data.draw(st.booleans()):
        # It saw an epoch begin, so it holds all that came before; nothing of its own can be in its log.
        begun = data.draw(st.integers(1, epoch))
        mine, peer = [zxid for zxid in history if zxid >> 32 < begun], begun << 32
    elif peer and peer + 1 not in history:
        # A tail that was never committed: it goes on in an epoch that the learner's log had reached.
        mine = mine + [peer + step for step in range(1, data.draw(st.integers(0, 3)) + 1)]
        peer = mine[-1]

    view = SyncView(last_processed=last_processed, committed=committed)
    plan = plan_sync(peer, view, disk if wants_disk(peer, view) else None)
    if plan.mode == "SNAP":
        assert plan.zxid == plan.current == last_processed
        assert not plan.proposals
        return
    result = [zxid for zxid in mine if plan.mode == "DIFF" or zxid <= plan.zxid]
    result += [zxid for zxid, _ in plan.proposals]
    assert result == history
    assert plan.current >= (history[-1] if history else 0)

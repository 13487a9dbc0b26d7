"""A simulation that is recorded for the page: the same run, with one more reader of its events."""

from typing import BinaryIO

from trioquorum.admin.feed import MemberInfo
from trioquorum.admin.recording import Recorder
from trioquorum.events import Event
from trioquorum.testing import seeded
from trioquorum.testing.network import CLIENT_PORT, ELECTION_PORT, QUORUM_PORT, node_name
from trioquorum.testing.plan import Plan
from trioquorum.testing.simulation import Failure, Report, Run
from trioquorum.testing.trace import Tell, Trace
from trioquorum.transport import Address


class RecordedTrace(Trace):
    """A trace whose events are written down as well."""

    def __init__(self, recorder: Recorder, tell: Tell | None) -> None:
        super().__init__(tell)
        self._recorder = recorder

    def add(self, time_s: float, peer: int, event: Event) -> None:
        """One event of ``peer``, or of nobody (0)."""
        super().add(time_s, peer, event)
        self._recorder.add(time_s, peer, event)


def simulate_recorded(plan: Plan, file: BinaryIO, tell: Tell | None = None) -> tuple[Report, int]:
    """Carry ``plan`` out as ``testing.simulation.simulate`` does, and write a recording of it to ``file``.

    Returns the report, and how many events at the end found no room.
    """
    recorder = Recorder(file, f"seed {plan.seed}", members_of(plan))
    run = Run(plan, RecordedTrace(recorder, tell))
    try:
        seeded.run(plan.seed, run.main)
    except (Exception, BaseExceptionGroup) as error:
        if not isinstance(error, Exception):
            raise
        run.report.failure = Failure(run.phase, _first(error))
        run.report.tail = run.trace.tail
    return run.report, recorder.left_out


def members_of(plan: Plan) -> list[MemberInfo]:
    """The ensemble of a plan as it begins."""

    def member(peer: int) -> MemberInfo:
        voter = peer <= plan.peers
        quorum, election, client = (
            str(Address("memory", node_name(peer), port)) for port in (QUORUM_PORT, ELECTION_PORT, CLIENT_PORT)
        )
        return MemberInfo(
            id=peer,
            role="participant" if voter else "observer",
            weight=1,
            group=plan.groups[peer - 1] if plan.groups and voter else None,
            quorum=quorum,
            election=election,
            client=client,
            admin=None,
        )

    return [member(peer) for peer in range(1, plan.peers + plan.observers + 1)]


def _first(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"

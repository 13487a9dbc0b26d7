"""Sequences on both servers at once: what each client is told must be the same, and what is left in the end."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from tests.interop.differential.deviations import afterwards, meant
from tests.interop.differential.drawing import Drawing
from tests.interop.differential.servers import Java, Servers, Trioquorum
from tests.interop.differential.side import ADMIN, Seen, Side, children_of, cleaning
from tests.interop.differential.steps import Leave, Request, Say, Step
from trioquorum.wire.ops import Op
from trioquorum.wire.records import PathRequest, PathWatchRequest

LENGTH: Final = 60


class Difference(msgspec.Struct):
    """The first thing that was not the same."""

    step: Step
    client: str
    java: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.step}\n  client {self.client}\n  java {self.java}\n  ours {self.ours}"


class Pair:
    """Both servers. ``excused`` counts the rules by which answers were allowed to differ."""

    def __init__(self, peers: int = 1) -> None:
        self._peers = peers
        self._stack = ExitStack()
        self._sides: tuple[Side, Side] | None = None
        self._servers: tuple[Servers, Servers] | None = None
        self.excused = Counter[str]()
        self.requests = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        self._sides = self._servers = None
        self._stack.close()

    def _start(self) -> tuple[Side, Side]:
        """Fresh servers, if there are none or the last ones had come apart."""
        if self._sides is None:
            scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="trioquorum-differ-")))
            java = self._stack.enter_context(Java(scratch / "java", self._peers))
            ours = self._stack.enter_context(Trioquorum(scratch / "ours", self._peers))
            self._servers = java, ours
            self._sides = Side(java.leader_last()), Side(ours.leader_last())
            for side in self._sides:
                self._stack.callback(side.close)
        return self._sides

    def run(self, steps: list[Step]) -> Difference | None:
        """Everything of a sequence: its steps, the tree it leaves, and cleaning up. Servers that came apart by it are
        not used again."""
        try:
            found = self._first(steps)
            if found is not None and not self._alike_again():
                self._stop()
        except BaseException:
            self._stop()
            raise
        return found

    def _alike_again(self) -> bool:
        """Clean both, without comparing: whether they still agree on what cannot be deleted, down to the zxid."""
        sides = self._start()
        if not all(side.whole for side in sides):
            return False
        java, ours = ([side.clean() for _ in range(2)][1] for side in sides)
        return java == ours

    def _first(self, steps: list[Step]) -> Difference | None:
        for step in steps:
            found = self._compared(step)
            if found is not None:
                return found
        paths: list[str] = []
        for found in self._tree(paths):
            if found is not None:
                return found
        for step in cleaning(paths):
            found = self._compared(step)
            if found is not None:
                return found
        return None

    def _compared(self, step: Step, answers: list[Seen] | None = None) -> Difference | None:
        self.requests += len(step.requests) if isinstance(step, Say) else 1
        sides = self._start()
        java, ours = (side.perform(step) for side in sides)
        rules: set[str] = set()
        if answers is not None:
            answers.append(ours.get(str(step.slot), []))
        for client in sorted(java.keys() | ours.keys(), key=lambda name: (name != str(step.slot), name)):
            theirs, own = (_ordered(step, seen.get(client, [])) for seen in (java, ours))
            for number in range(max(len(theirs), len(own))):
                one, other = (seen[number] if number < len(seen) else ("nothing",) for seen in (theirs, own))
                if one == other:
                    continue
                rule = meant(step, one, other)
                if rule is None:
                    return Difference(step, client, theirs[number:], own[number:])
                self.excused[rule] += 1
                rules.add(rule)
        for rule in rules:
            further = afterwards(step, rule)
            if further is not None:
                for side in sides:
                    side.perform(further)
        return None

    def _tree(self, paths: list[str]) -> Iterator[Difference | None]:
        """Every node, read by who may read all, on every peer; ``paths`` collects them."""
        for peer in range(self._peers):
            todo = ["/"]
            while todo:
                path = todo.pop()
                if not peer:
                    paths.append(path)
                answers: list[Seen] = []
                requests = [children_of(path)]
                if path != "/zookeeper/config":  # it names ports
                    requests.append(Request(Op.GET_DATA, PathWatchRequest(path, False).encode()))
                requests.append(Request(Op.GET_ACL, PathRequest(path).encode()))
                yield self._compared(Say(ADMIN - peer, requests), answers)
                children = answers[0][0][5][0]
                todo += [f"{path.rstrip('/')}/{name}" for name in children]


def _ordered(step: Step, seen: Seen) -> Seen:
    """The ephemerals of a session go in any order, so the events of that are compared as a set."""
    if not isinstance(step, Leave):
        return seen
    return sorted((it for it in seen if it[0] == "event"), key=repr) + [it for it in seen if it[0] != "event"]


def drawn(seed: int, peers: int = 1, length: int = LENGTH) -> list[Step]:
    """The sequence of this seed."""
    return Drawing(seed, peers).sequence(length)


def shrunk(pair: Pair, steps: list[Step], found: Difference, tries: int = 100) -> tuple[list[Step], Difference]:
    """Fewer steps that still differ; all of them, if they do not do so again."""
    size = len(steps) // 2
    while size and tries:
        at = 0
        while at < len(steps) and tries:
            tries -= 1
            fewer = steps[:at] + steps[at + size :]
            again = pair.run(fewer)
            if again is not None:
                steps, found = fewer, again
            else:
                at += size
        size //= 2
    return steps, found

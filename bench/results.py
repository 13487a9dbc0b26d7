"""Results as JSON lines, and what is read out of several rounds: medians, ratios, and what moved."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.workload import Workload

MOVED_MIN: Final = 0.03
"""A figure that changed by less did not move: placement in memory alone does as much."""
NOISE_DEVIATIONS: Final = 2.0
_MAD_TO_DEVIATION: Final = 1.4826


class Figure(msgspec.Struct, frozen=True):
    """How a figure is called in tables, and which way is better: 1 up, -1 down, 0 neither."""

    label: str
    better: int


FIGURES: Final[dict[str, Figure]] = {
    "rate_per_s": Figure("operations/s", 1),
    "p50_ms": Figure("p50, ms", -1),
    "p99_ms": Figure("p99, ms", -1),
    "p999_ms": Figure("p99.9, ms", -1),
    "max_per_s": Figure("maximum, operations/s", 1),
    "cpu_s_per_100k": Figure("CPU s per 100,000, all servers", -1),
    "ping_p50_ms": Figure("ping beside the load, p50, ms", -1),
    "ping_p99_ms": Figure("ping beside the load, p99, ms", -1),
    "leader_share": Figure("leader, share of a core", 0),
    "follower_share": Figure("follower, share of a core", 0),
    "writes_per_fsync": Figure("writes per fsync", 1),
    "fsyncs_per_s": Figure("fsyncs/s, all servers", 0),
    "generator_share": Figure("generator, share of a core", 0),
    "start_s": Figure("start of all → first write, s", -1),
    "failover_s": Figure("kill -9 of the leader → first write, s", -1),
    "join_s": Figure("start of an empty follower → it serves, s", -1),
    "restart_s": Figure("start with a snapshot → first read, s", -1),
    "snapshot_s": Figure("snapshot beside writes, s", -1),
    "snapshot_mib": Figure("snapshot, MiB", -1),
    "snapshot_rss_mib": Figure("RSS behind the snapshot, MiB", -1),
    "ping_max_ms": Figure("longest ping, ms", -1),
    "replay_per_s": Figure("transactions replayed at start, 1/s", 1),
    "last_told_ms": Figure("one change → last watcher told, ms", -1),
    "fill_per_s": Figure("creates/s while filling", 1),
    "rss_mib": Figure("RSS of a peer, MiB", -1),
    "pss_mib": Figure("PSS of a peer, MiB", -1),
}


class Run(msgspec.Struct, kw_only=True):
    """One measurement of one contestant. ``latency_us`` is a histogram as (µs, requests).

    ``note`` says what the contestant does otherwise than the others. ``session`` is which run of the harness it was,
    when several were read; rounds are only comparable within one.
    """

    workload: str
    contestant: str
    round: int
    load_average: float
    setup: Workload
    figures: dict[str, float]
    latency_us: list[tuple[float, int]] = []
    note: str = ""
    session: int = 0


class Results(msgspec.Struct):
    """What files of JSON lines hold: where it was taken, and the runs. Later files add to earlier ones."""

    machines: list[dict[str, Any]]
    runs: list[Run]

    def workloads(self) -> dict[str, Workload]:
        """Each workload that was run, in order."""
        return {run.workload: run.setup for run in self.runs}

    def contestants(self) -> list[str]:
        """Who was measured, in order of appearance."""
        return list(dict.fromkeys(run.contestant for run in self.runs))

    def of(self, workload: str, contestant: str) -> list[Run]:
        """The runs of one contestant, by session and round."""
        found = [run for run in self.runs if (run.workload, run.contestant) == (workload, contestant)]
        return sorted(found, key=lambda run: (run.session, run.round))

    def values(self, workload: str, contestant: str, figure: str) -> list[float]:
        """A figure of every round."""
        return [run.figures[figure] for run in self.of(workload, contestant) if figure in run.figures]

    def median(self, workload: str, contestant: str, figure: str) -> float | None:
        """None if there is none."""
        values = self.values(workload, contestant, figure)
        return statistics.median(values) if values else None

    def figures(self, workload: str) -> list[str]:
        """Which figures there are, in the order of ``FIGURES``."""
        known = {name for run in self.runs if run.workload == workload for name in run.figures}
        return [name for name in FIGURES if name in known]


class Lines:
    """Writes JSON lines, to a file or to standard output."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)

    def add(self, record: object) -> None:
        """One object, one line."""
        line = msgspec.json.encode(record)
        if self._file is None:
            print(line.decode(), flush=True)
            return
        with self._file.open("ab") as out:
            out.write(line + b"\n")


def read(files: Iterable[Path]) -> Results:
    """All lines of all files.

    Raises:
        msgspec.ValidationError: a line is no result.
    """
    found = Results([], [])
    for line in _lines(files):
        record = msgspec.json.decode(line)
        if "machine" in record:
            found.machines.append(record["machine"])
        elif "figures" in record:
            run = msgspec.convert(record, Run, strict=False)
            run.session = max(0, len(found.machines) - 1)
            found.runs.append(run)
    return found


def _lines(files: Iterable[Path]) -> Iterator[bytes]:
    for file in files:
        yield from file.read_bytes().splitlines()


def ratios(results: Results, workload: str, figure: str, ours: str, theirs: str) -> list[float]:
    """Round by round, so that what both runs of a round suffered from the machine cancels out."""
    a, b = _by_round(results, workload, figure, ours), _by_round(results, workload, figure, theirs)
    return [a[round_] / b[round_] for round_ in a if b.get(round_)]


def _by_round(results: Results, workload: str, figure: str, contestant: str) -> dict[tuple[int, int], float]:
    runs = results.of(workload, contestant)
    return {(run.session, run.round): run.figures[figure] for run in runs if figure in run.figures}


def ratio_of_medians(results: Results, workload: str, figure: str, ours: str, theirs: str) -> float | None:
    """What goals are about; of the sessions in which both were measured."""
    a, b = _by_round(results, workload, figure, ours), _by_round(results, workload, figure, theirs)
    common = {session for session, _ in a} & {session for session, _ in b}
    if not common:
        return None
    middle = [statistics.median(it[key] for key in it if key[0] in common) for it in (a, b)]
    return middle[0] / middle[1] if middle[1] else None


def moved(by_round: Sequence[float]) -> bool:
    """Whether ratios by round say that something changed, and not only the machine's mood.

    Every round must agree on the direction, and their median must be further from 1 than the rounds are from each
    other: by twice their standard deviation, estimated from the median of the distances.
    """
    if len(by_round) < 3:
        return False
    middle = statistics.median(by_round)
    if not (min(by_round) > 1 or max(by_round) < 1):
        return False
    spread = _MAD_TO_DEVIATION * statistics.median(abs(it - middle) for it in by_round)
    return abs(middle - 1) > max(MOVED_MIN, NOISE_DEVIATIONS * spread)


def percentile_ms(histogram: Sequence[tuple[float, int]], share: float) -> float:
    """The latency in ms that ``share`` of the requests in a histogram of (µs, requests) stayed within; 0 of nothing."""
    left = sum(count for _, count in histogram) * share
    for micros, count in histogram:
        left -= count
        if left <= 0 < count:
            return micros / 1000
    return 0.0

"""Run kazoo's own tests against an ensemble of ours and say what passes against Apache ZooKeeper only.

``java --record`` runs them against Apache ZooKeeper (Debian: apt-get install zookeeper) and keeps the outcomes. Tests
of kazoo that need ``objgraph``, ``gevent`` or ``eventlet`` are only there when these are installed.
"""

import argparse
import sys
from collections import Counter

from tests.interop.kazoo_suite.run import FOR_EVERY_RUN, NOT_FOR_EVERY_RUN, REFEREE, judge, run
from tests.kit.zookeepers import java_missing


def main() -> None:
    """The exit code is 1 when a test that must pass does not."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.kazoo_suite", description=__doc__)
    parser.add_argument("kind", choices=("ours", "java"), help="the servers under test")
    parser.add_argument("files", nargs="*", help="test_<file>.py of kazoo; all by default")
    parser.add_argument("--short", action="store_true", help="what runs with each run of our own tests")
    parser.add_argument("-k", dest="only", default="", help="pytest's -k")
    parser.add_argument("--record", action="store_true", help="keep the outcomes as the referee's")
    arguments = parser.parse_args()
    if arguments.kind == "java" and (missing := java_missing()):
        sys.exit(missing)
    files, only = arguments.files, arguments.only
    if arguments.short:
        files, only = FOR_EVERY_RUN, NOT_FOR_EVERY_RUN
    found = run(arguments.kind, files, only)
    for outcome in found.values():
        if outcome.outcome != "passed":
            print(f"{outcome.outcome} {outcome.test}\n    {outcome.why[-300:]}")
    counts = Counter(outcome.outcome for outcome in found.values())
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    if arguments.kind == "java":
        if arguments.record:
            lines = sorted(f"{outcome.outcome} {outcome.test}\n" for outcome in found.values())
            REFEREE.write_text("".join(lines))
        return
    wrong = judge(found)
    for line in wrong:
        print(f"\nmust not be: {line}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

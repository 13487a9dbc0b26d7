"""Record the transcript again from Apache ZooKeeper; ``git diff`` then shows what changed."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.interop.node_client.play import RECORDED, ensemble, missing, play
from tests.kit.zookeepers import java_missing


def main() -> None:
    """Write down what Java answers, or show what a server answers."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.node_client", description=__doc__)
    parser.add_argument("--show", choices=("ours", "java"), help="print the transcript of a server, write nothing")
    arguments = parser.parse_args()
    if lacking := missing() or java_missing():
        sys.exit(lacking)
    with tempfile.TemporaryDirectory() as name, ensemble(arguments.show or "java", Path(name)) as servers:
        transcript = play(servers)
    if arguments.show:
        print(transcript)
    else:
        RECORDED.write_text(transcript, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Record the scripts again from Apache ZooKeeper; ``git diff`` then shows what changed."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.interop.zkcli.play import SCRIPTS, ensemble, play
from tests.kit.zookeepers import java_missing


def main() -> None:
    """Write Java's answers into the scripts, or show ours beside them."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.zkcli", description=__doc__)
    parser.add_argument("scripts", nargs="*", help="names without .txt; all by default")
    parser.add_argument("--show", choices=("ours", "java"), help="print the transcript of a server, write nothing")
    arguments = parser.parse_args()
    if missing := java_missing():
        sys.exit(missing)
    with tempfile.TemporaryDirectory() as name, ensemble(arguments.show or "java", Path(name)) as servers:
        for script in SCRIPTS:
            if not arguments.scripts or script.stem in arguments.scripts:
                transcript = play(script, servers, Path(name))
                if arguments.show:
                    print(transcript)
                else:
                    script.write_text(transcript, encoding="utf-8")


if __name__ == "__main__":
    main()

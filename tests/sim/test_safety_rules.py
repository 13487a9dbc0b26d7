"""Every rule of the checker by its name: the table, and servers that break one each and are found out."""

import re
from pathlib import Path

from trioquorum.testing import safety


def test_the_table_lists_the_rules_and_no_others() -> None:
    named: set[str] = set()
    for module in Path(safety.__file__).parent.glob("*.py"):
        for call in module.read_text().split("invariant(")[1:]:
            found = re.search(r'"([^"]+)",', call)
            assert found, call[:80]
            named.add(found.group(1))
    listed = {
        re.split(r"  +", line)[0]
        for line in (safety.__doc__ or "").splitlines()
        if re.search(r"  +(P|T|D|§|client-protocol)", line)
    }
    assert named == listed

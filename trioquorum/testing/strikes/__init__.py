"""What each kind of strike does; the names are those of ``trioquorum.testing.plan.KINDS``."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from trioquorum.testing.nemesis import Nemesis
from trioquorum.testing.plan import Strike
from trioquorum.testing.strikes import disks, network, processes

STRIKES: Final[Mapping[str, Callable[[Nemesis, Strike], Awaitable[None]]]] = MappingProxyType(
    {
        "cut": network.cut,
        "one_way": network.one_way,
        "partition": network.partition,
        "slow_link": network.slow_link,
        "slow_way": network.slow_way,
        "narrow_link": network.narrow_link,
        "break_links": network.break_links,
        "dead_links": network.dead_links,
        "torn_link": network.torn_link,
        "silence": network.silence,
        "slow_reader": network.slow_reader,
        "slow_disk": disks.slow_disk,
        "failed_flush": disks.failed_flush,
        "full_disk": disks.full_disk,
        "flipped_bit": disks.flipped_bit,
        "lost_file": disks.lost_file,
        "crash": processes.crash,
        "crash_all": processes.crash_all,
        "crash_at": processes.crash_at,
        "stop": processes.stop,
        "pause": processes.pause,
        "clock_jump": processes.clock_jump,
        "overtaken": processes.overtaken,
    }
)
"""By kind."""

"""The nursery tree, from Trio's own introspection."""

from contextvars import ContextVar
from typing import Final

import trio

from trioquorum.admin.feed import TaskInfo

ROOT: Final[ContextVar[trio.lowlevel.Task | None]] = ContextVar("ROOT", default=None)
"""What all tasks of a peer are below that shares its process with others; inherited from task to task."""


def task_tree(tasks_max: int, depth_max: int) -> TaskInfo | None:
    """Every task below ``ROOT``, else below Trio's own root, at most ``tasks_max`` and none deeper than ``depth_max``.

    ``None`` outside of a Trio program.
    """
    root = ROOT.get() or trio.lowlevel.current_root_task()
    if root is None:
        return None
    return _Walk(tasks_max).task(root, depth_max)


class _Walk:
    def __init__(self, tasks_max: int) -> None:
        self._left = tasks_max

    def task(self, task: trio.lowlevel.Task, depth_left: int) -> TaskInfo:
        self._left -= 1
        left_out = 0
        nurseries: list[list[TaskInfo]] = []
        for nursery in task.child_nurseries:
            told: list[TaskInfo] = []
            for child in sorted(nursery.child_tasks, key=lambda child: child.name):
                if self._left <= 0 or depth_left <= 1:
                    left_out += 1
                else:
                    told.append(self.task(child, depth_left - 1))
            nurseries.append(told)
        return TaskInfo(name=task.name, nurseries=nurseries, left_out=left_out)

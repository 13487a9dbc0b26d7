"""Paths of the children of one znode: a dict, and for a very long list pages that can be walked while it changes."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

import msgspec

NARROW_MAX: Final = 4096
"""A dict with more paths gets pages: copying one of these takes a fraction of a millisecond."""

PAGE_MAX: Final = 1365
"""Paths of a page at first: as many as a dict of 2048 places takes."""

PAGES_FEW: Final = 16
"""A path that goes is looked for in every page, so where this many would be full pages become longer."""

_SPARSE_MIN: Final = 64


class _Page(msgspec.Struct, gc=False):
    """Paths in the order in which they came; ``room`` is what they were at most since no more of them come."""

    paths: dict[str, None]
    room: int


class WideChildren:
    """As much of a dict as the tree needs, in the same order, in pages one behind the other.

    A walk copies page after page. Paths never change their page while they stay, and come into the last one only. To
    find that a new path is new is left to who adds it: of a million paths most are far from every cache.
    """

    __slots__ = ("_count", "_last", "_pages")

    def __init__(self, paths: Iterable[str]) -> None:
        self._begin(paths)

    def _begin(self, paths: Iterable[str]) -> None:
        self._count = 0
        self._last = _Page({}, 0)
        self._pages = [self._last]
        for path in paths:
            self.add(path)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable([page.paths for page in self._pages])

    def add(self, path: str) -> None:
        """Add a path that is not there, behind the others."""
        page = self._last
        size = len(page.paths)
        if size >= PAGE_MAX and size * PAGES_FEW >= self._count:
            page.room = size
            page = self._last = _Page({}, 0)
            self._pages.append(page)
        page.paths[path] = None
        self._count += 1

    def pop(self, path: str, default: None) -> None:
        """Remove a path, if it is there; the oldest and the newest are found soonest."""
        del default
        pages = self._pages
        at = -1
        page = self._last
        if path not in page.paths:
            for page in pages:
                at += 1
                if path in page.paths:
                    break
            else:
                return
        paths = page.paths
        del paths[path]
        self._count -= 1
        if page is self._last:
            return
        if not paths:
            del pages[at]
        elif page.room > 2 * len(paths) + _SPARSE_MIN:
            page.paths = dict(paths)  # A dict that only loses keeps its room.
            page.room = len(paths)
            if len(pages) > 2 * PAGES_FEW and 8 * self._count < len(pages) * PAGE_MAX:
                self._begin(list(self))  # Walks go on with the pages as they are.

    def walk(self) -> Iterator[str]:
        """Every path that is there from now to the end, once; of the others that are there now any, once at most."""
        *full, last = self._pages
        # Into the last page new paths may still come, among them some that went from a page that was walked.
        return chain(chain.from_iterable(map(_copied, full)), _copied(last))


def _copied(page: _Page) -> list[str]:
    return list(page.paths)


Children = dict[str, None] | WideChildren


def walked(children: Children) -> Iterator[str]:
    """The paths as far as they stay, while they may change (see ``WideChildren.walk``)."""
    return iter(tuple(children)) if isinstance(children, dict) else children.walk()

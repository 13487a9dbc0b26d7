"""Paths of the children of one znode: a dict, and for a very long list pages that can be walked while it changes."""

from collections.abc import Iterator
from itertools import chain
from typing import Final

import msgspec

NARROW_MAX: Final = 4096
"""A dict with more paths gets pages: copying one of these takes a fraction of a millisecond."""

PAGE_MAX: Final = 1024
_SPARSE_MIN: Final = 64


class _Page(msgspec.Struct, gc=False):
    """Paths in the order in which they came; ``live`` of them are still there and were not added anew elsewhere."""

    number: int
    paths: list[str]
    live: int


class WideChildren:
    """As much of a dict as the tree needs, in the same order: each path with its page, and each page with its paths.

    A walk copies page after page. Paths never change their page while they stay, and come into the last one only.
    """

    __slots__ = ("_last", "_page_of", "_pages")

    def __init__(self, paths: dict[str, None]) -> None:
        self._pages: dict[int, _Page] = {}
        self._page_of: dict[str, _Page] = {}
        self._last = self._begin_page(0)
        for path in paths:
            self[path] = None

    def __len__(self) -> int:
        return len(self._page_of)

    def __iter__(self) -> Iterator[str]:
        return iter(self._page_of)

    def __setitem__(self, path: str, value: None) -> None:
        """Add a path, behind the others."""
        if path in self._page_of:
            return
        page = self._last
        if len(page.paths) >= PAGE_MAX:
            page = self._last = self._begin_page(page.number + 1)
        page.paths.append(path)
        page.live += 1
        self._page_of[path] = page

    def pop(self, path: str, default: None) -> None:
        """Remove a path, if it is there."""
        page = self._page_of.pop(path, default)
        if page is None:
            return
        page.live -= 1
        if not page.live and page is not self._last:
            del self._pages[page.number]
        elif len(page.paths) > 2 * page.live + _SPARSE_MIN:
            page.paths = self._living(page)

    def walk(self) -> Iterator[str]:
        """Every path that is there from now to the end, once; of the others that are there now any, once at most."""
        *full, last = self._pages.values()
        # Into the last page new paths may still come, among them some that went from a page that was walked.
        return chain(chain.from_iterable(map(self._living, full)), self._living(last))

    def _begin_page(self, number: int) -> _Page:
        page = self._pages[number] = _Page(number, [], 0)
        return page

    def _living(self, page: _Page) -> list[str]:
        """Its paths without those that went; one that went and came back is in the list twice."""
        if page.live == len(page.paths):
            return page.paths[:]
        page_of = self._page_of
        return [path for path in dict.fromkeys(page.paths) if page_of.get(path) is page]


Children = dict[str, None] | WideChildren


def walked(children: Children) -> Iterator[str]:
    """The paths as far as they stay, while they may change (see ``WideChildren.walk``)."""
    return iter(tuple(children)) if isinstance(children, dict) else children.walk()

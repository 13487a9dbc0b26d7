"""Names of children: in order, however many; and walks over them that stay right while they change."""

from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st

from trioquorum.tree import children as module
from trioquorum.tree.children import NARROW_MAX, PAGE_MAX, PAGES_FEW, WideChildren, walked
from trioquorum.tree.nodes import DataTree

NAMES = st.sampled_from([f"n{number}" for number in range(12)])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), NAMES),
        st.tuples(st.just("remove"), NAMES),
        st.tuples(st.just("walk"), st.just("")),
        st.tuples(st.just("step"), st.integers(0, 3)),
    ),
    max_size=80,
)


class Walk:
    """A walk, what it met, and which names were there all the time."""

    def __init__(self, children: WideChildren, there: set[str]) -> None:
        self.began_with = set(there)
        self.stayed = set(there)
        self.met: list[str] = []
        self.steps: Iterator[str] = walked(children)


@given(st.lists(NAMES, unique=True, max_size=12), STEPS, st.integers(1, 4), st.integers(0, 32))
def test_a_walk_meets_all_that_stay_and_nothing_twice(
    begin: list[str], steps: list, page_max: int, pages_few: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAGE_MAX", page_max)
        patch.setattr(module, "PAGES_FEW", pages_few)
        patch.setattr(module, "_SPARSE_MIN", 1)
        model = dict.fromkeys(begin)
        children = WideChildren(model)
        walks: list[Walk] = []
        for what, which in steps:
            if what == "add":
                if which not in model:
                    children.add(which)
                model[which] = None
            elif what == "remove":
                children.pop(which, None)
                model.pop(which, None)
                for walk in walks:
                    walk.stayed.discard(which)
            elif what == "walk":
                walks.append(Walk(children, set(model)))
            elif which < len(walks):
                walks[which].met.append(next(walks[which].steps, ""))
            assert list(children) == list(model)
            assert len(children) == len(model)
        for walk in walks:
            met = [name for name in (*walk.met, *walk.steps) if name]
            assert len(met) == len(set(met))
            assert walk.stayed <= set(met) <= walk.began_with


def test_a_walk_copies_no_more_than_a_page_at_a_time() -> None:
    """What goes while an earlier page is walked is not met any more."""
    names = [f"n{number}" for number in range(10 * PAGE_MAX)]
    children = WideChildren(dict.fromkeys(names))
    walk = walked(children)
    assert next(walk) == names[0]
    for name in names[PAGE_MAX : 9 * PAGE_MAX]:
        children.pop(name, None)
    assert list(walk) == [*names[1:PAGE_MAX], *names[9 * PAGE_MAX :]]


def test_names_that_come_and_go_for_ever_take_no_room() -> None:
    children = WideChildren(dict.fromkeys(f"stays{number}" for number in range(PAGE_MAX)))
    for number in range(50 * PAGE_MAX):
        children.add(f"n{number}")
        children.pop(f"n{number}", None)
    assert sum(len(page.paths) for page in children._pages) < 4 * PAGE_MAX
    assert len(children._pages) < 4


def test_a_parent_of_very_many_is_like_any_other() -> None:
    tree = DataTree()
    paths = [f"/n{number}" for number in range(NARROW_MAX + 5)]
    for zxid, path in enumerate(paths, 1):
        assert tree.create(path, b"", None, 0, -1, zxid, 0) == 0
    root = tree.nodes["/"]
    assert isinstance(root.children, WideChildren)
    assert list(root.children) == ["/zookeeper", *paths]
    for path in paths:
        assert tree.delete(path, tree.last_zxid) == 0
    assert list(root.children) == ["/zookeeper"]


def test_a_path_that_goes_is_looked_for_in_few_pages() -> None:
    """However many there are, and whatever came and went before."""
    names = [f"n{number}" for number in range(100_000)]
    children = WideChildren(names)
    assert len(children._pages) < 3 * PAGES_FEW
    walk = walked(children)
    assert next(walk) == names[0]
    for number, name in enumerate(names):
        if number % 500:
            children.pop(name, None)
    stay = names[::500]
    assert list(children) == stay
    assert len(children._pages) < 3 * PAGES_FEW
    met = [names[0], *walk]
    assert len(met) == len(set(met))
    assert set(stay) <= set(met) <= set(names)


def test_some_of_many_that_come_stay_for_long() -> None:
    children = WideChildren({})
    for number in range(200):
        for again in range(PAGE_MAX):
            children.add(f"n{number}-{again}")
        for again in range(1, PAGE_MAX):
            children.pop(f"n{number}-{again}", None)
    assert list(children) == [f"n{number}-0" for number in range(200)]
    assert len(children._pages) < 3 * PAGES_FEW

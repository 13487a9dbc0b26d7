"""Leader and learner machines together: no order of steps, crashes and broken links breaks an invariant of ZAB."""

from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from tests.zab.cluster import World


@pytest.mark.parametrize("voters", [1, 2, 3, 5])
def test_an_ensemble_without_faults(voters: int) -> None:
    world = World(voters, 1, Random(voters))
    world.settle()
    assert len(world.committed) == 2


@settings(max_examples=60, deadline=None)
@given(
    voters=st.integers(2, 5),
    observers=st.integers(0, 1),
    steps=st.integers(0, 1000),
    rough=st.booleans(),
    seed=st.integers(0, 1 << 32),
)
def test_histories_agree_whatever_happens(voters: int, observers: int, steps: int, rough: bool, seed: int) -> None:
    world = World(voters, observers, Random(seed), rough=rough)
    world.elect(world.peers)
    for _ in range(steps):
        world.act()
    world.settle()

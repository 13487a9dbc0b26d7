"""Real ensembles for tests with real clients."""

import gc
from collections.abc import Iterator

import pytest

from tests.kit.processes import Ensemble


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """Three voters that stay up for a whole module; tests use paths of their own and kill nobody."""
    with Ensemble(tmp_path_factory.mktemp("ensemble")) as started:
        started.start().wait_serving()
        yield started


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """Three voters, not started, for one test that may do anything to them."""
    with Ensemble(tmp_path_factory.mktemp("fresh")) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def _sockets_of_clients() -> Iterator[None]:
    """What clients leave to the garbage collector goes here, not in the middle of a test of something else."""
    yield
    gc.collect()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """kazoo leaves the socket of a refused connection to the garbage collector."""
    for item in items:
        if "interop" in item.keywords:
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))

import made_traces
import pytest


@pytest.fixture(scope="session")
def plain():
    return made_traces.plain_trace()


@pytest.fixture(scope="session")
def trees():
    return made_traces.tree_trace()


@pytest.fixture(scope="session")
def matched_trees():
    return made_traces.tree_trace(drafted=False)

"""What the tests get from the harness, in environment variables."""

import os

import pytest


@pytest.fixture(scope="session")
def url() -> str:
    """The gateway's base URL, without /v1."""
    return os.environ["KEYTURN_URL"]


@pytest.fixture(scope="session")
def key() -> str:
    """A virtual key without limits."""
    return os.environ["KEYTURN_KEY"]


@pytest.fixture(scope="session")
def completion() -> str:
    """What the upstream says."""
    return os.environ["COMPLETION"]

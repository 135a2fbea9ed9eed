"""The session's RabbitMQ node as a pytest fixture; loaded through `pytest_plugins`."""

from collections.abc import Iterator

import pytest

from tests.rabbitmq.server import RabbitMq, private_rabbitmq


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    """A node for the whole session; each user takes queues of its own names in it."""
    with private_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as node:
        yield node

"""Fixtures of the whole suite; imports no Prefect, so that pure tests start at once."""

pytest_plugins = [
    "tests.mariadb.fixtures",
    "tests.postgres.fixtures",
    "tests.rabbitmq.fixtures",
    "tests.flows.beamtimes",
    "tests.flows.isolates",
]

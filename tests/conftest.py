"""Fixtures of the whole suite; imports no Prefect, so that pure tests start at once."""

import signal

# Whoever starts the tests in the background of a script takes Ctrl-C from all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "tests.mariadb.fixtures",
    "tests.postgres.fixtures",
    "tests.rabbitmq.fixtures",
    "tests.flows.beamtimes",
    "tests.flows.isolates",
]

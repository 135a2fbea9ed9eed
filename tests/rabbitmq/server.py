"""A private RabbitMQ node with its STOMP plugin, which can be killed and started again."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
PROGRAMS = "/usr/lib/rabbitmq/bin"  # Debian's wrappers in the PATH change the user
START_TIMEOUT_S = 60
USER = "limsflow"


@dataclass
class RabbitMq:
    """A node of our own; its queues survive `kill -9`."""

    directory: Path
    amqp_port: int
    stomp_port: int
    password: str = field(repr=False)
    dist_port: int
    epmd_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def amqp(self) -> str:
        """The address for AMQP."""
        return f"amqp://{USER}:{self.password}@{HOST}:{self.amqp_port}/"

    @property
    def stomp(self) -> str:
        """The address for STOMP."""
        return f"stomp://{USER}:{self.password}@{HOST}:{self.stomp_port}"

    def start(self) -> None:
        """Start the node and wait until it takes connections.

        Raises:
            RuntimeError: RabbitMQ is not installed, or does not start.
        """
        with (self.directory / "server.log").open("ab") as output:
            self.process = subprocess.Popen(
                [_program("rabbitmq-server")],
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (_answers(self.amqp_port) and _answers(self.stomp_port)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = (self.directory / "server.log").read_text(errors="replace")
                msg = f"RabbitMQ did not start:\n{log[-2000:]}"
                raise RuntimeError(msg)
            time.sleep(0.1)

    def kill(self) -> None:
        """End the node as a power cut does."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        deadline = time.monotonic() + 30
        while _answers(self.amqp_port) and time.monotonic() < deadline:
            time.sleep(0.05)

    def restart(self) -> None:
        """Stop the node as its administrator does, and start it again.

        A quorum queue that RabbitMQ 3.10 made seconds before a power cut is not found again; one
        that is older, or was there when the node was last stopped, is.
        """
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(60)
        self.start()

    def _environment(self) -> dict[str, str]:
        folder = str(self.directory)
        return {
            "PATH": os.environ["PATH"],
            "HOME": folder,  # of Erlang's cookie
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"limsflow{self.amqp_port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.amqp_port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2",
        }


@contextmanager
def private_rabbitmq(directory: Path) -> Iterator[RabbitMq]:
    """Run a new node in `directory` until the block ends."""
    ports = _free_ports(4)
    node = RabbitMq(directory, ports[0], ports[1], secrets.token_hex(16), ports[2], ports[3])
    config = {
        "listeners.tcp.1": f"{HOST}:{node.amqp_port}",
        "stomp.listeners.tcp.1": f"{HOST}:{node.stomp_port}",
        "default_user": USER,
        "default_pass": node.password,
        "loopback_users": "none",
    }
    lines = [f"{name} = {value}" for name, value in config.items()]
    (directory / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
    (directory / "plugins").write_text("[rabbitmq_stomp].\n")
    try:
        node.start()
        yield node
    finally:
        if node.process:
            node.kill()
        _end_epmd(node)


def _end_epmd(node: RabbitMq) -> None:
    """End the port mapper, which Erlang starts as a daemon."""
    epmd = shutil.which("epmd")
    if epmd:
        subprocess.run(
            [epmd, "-port", str(node.epmd_port), "-kill"], capture_output=True, check=False
        )


def _program(name: str) -> str:
    path = shutil.which(name, path=PROGRAMS)
    if path is None:
        msg = f"`{name}` is not installed, and these tests need RabbitMQ: run `make services`"
        raise RuntimeError(msg)
    return path


def _answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind((HOST, 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports

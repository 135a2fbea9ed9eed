"""The embedded default: one folder with SQLite for ISPyB and a Prefect server of its own."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from blocks.program import Program, environment
from blocks.record import Record

ROOT = Path(__file__).resolve().parent.parent
SERVER_START_S = 120.0

UNTRACKED = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
# Measured (contracts of Prefect 3.8): batching costs the server a third of the CPU for each task;
# a flush interval below 1 would be truncated to 0 and spin.
SERVER_SETTINGS = {
    **UNTRACKED,
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # Sequences for a search have up to 5,000,000 letters.
    "PREFECT_SERVER_API_MAX_PARAMETER_SIZE": "6000000",
}
RUN_SETTINGS = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "blocks,tasks,flows",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_CLI_PROMPT": "false",
}


class Home(Record):
    """The folder of an embedded stack, and the port of its server."""

    folder: Path
    port: int

    @property
    def ispyb_path(self) -> Path:
        """The SQLite file that stands for ISPyB."""
        return self.folder / "ispyb.db"

    @property
    def ispyb_url(self) -> str:
        """The SQLAlchemy URL of that file."""
        return f"sqlite:///{self.ispyb_path}"

    @property
    def entero_url(self) -> str:
        """The SQLAlchemy URL of the SQLite file that stands for an EnteroBase."""
        return f"sqlite:///{self.folder / 'entero.db'}"

    @property
    def api_url(self) -> str:
        """Where Prefect's API answers."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def page_url(self) -> str:
        """Where a browser finds Prefect's page."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def visit(self) -> Path:
        """A visit's directory, shaped as at a facility."""
        return self.folder / "dls" / "i03" / "data" / "2026" / "cm00001-1"

    def variables(self) -> dict[str, str]:
        """Return the environment of every process of this stack."""
        return {
            **SERVER_SETTINGS,
            **RUN_SETTINGS,
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_PROFILES_PATH": str(self.folder / "prefect" / "profiles.toml"),
            "PREFECT_API_URL": self.api_url,
            # Without it the page asks port 4200, whatever the server's port is.
            "PREFECT_SERVER_UI_API_URL": self.api_url,
            "LIMSFLOW_ROOT": str(ROOT),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "MPLCONFIGDIR": str(self.folder / "matplotlib"),
        }

    def command(self, name: str) -> Program:
        """Return a program of our own environment (`prefect`, `python`) for this stack."""
        return own_program(name, self.variables())


def own_program(name: str, variables: Mapping[str, str]) -> Program:
    """Return a program of the environment that limsflow runs in, such as `prefect`."""
    return Program(
        name=name, directory=Path(sys.executable).parent, environment=environment(variables)
    )


def make_home(folder: Path, port: int | None = None) -> Home:
    """Return the home in this folder, made if it is missing, on a free port unless one is given."""
    folder = folder.resolve()
    (folder / "prefect").mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    return Home(folder=folder, port=port or free_port())


def free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def default_home() -> Path:
    """Return `$LIMSFLOW_HOME`, or `limsflow-home` in the current directory."""
    return Path(os.environ.get("LIMSFLOW_HOME", "limsflow-home"))

"""A private MariaDB server, and ISPyB databases in it with procedures and grants as in production.

Production lets a processing service write through stored procedures only (role
`ispyb_processing`) and read under another role (`ispyb_ro_nopii`). Both are rebuilt here from the
documented interface, in `procedures.sql` and `grants.sql`. The server takes about a second to
install and start, a database about a fifth of a second.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pymysql
from pymysql.connections import Connection
from sqlalchemy import URL, create_engine

from blocks.mx.tables import Base

HOST = "127.0.0.1"
HERE = Path(__file__).parent
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 15
SBIN = "/usr/sbin"  # Debian keeps mariadbd here, which is not on everyone's PATH

SMALL_AND_FAST = (
    "--skip-log-bin",
    "--skip-name-resolve",
    "--performance-schema=OFF",
    "--max-connections=50",
    "--key-buffer-size=1M",
    "--aria-pagecache-buffer-size=8M",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=OFF",
    "--innodb-use-native-aio=0",
)

# What a facility's schema has and we never name: a `SELECT *` or an INSERT without a list of
# columns would meet these.
UNKNOWN_COLUMNS = (
    "ALTER TABLE AutoProcProgram ADD parentAutoProcProgramId INT UNSIGNED NULL FIRST",
    "ALTER TABLE AutoProcProgramAttachment ADD deleted TINYINT(1) NOT NULL DEFAULT 0 FIRST",
    "ALTER TABLE ProcessingJob ADD someNewColumn VARCHAR(10) NOT NULL DEFAULT 'new' FIRST",
    "ALTER TABLE DataCollection ADD someNewColumn VARCHAR(10) NOT NULL DEFAULT 'new' FIRST",
)
JOB_UUID = "ALTER TABLE AutoProcProgram ADD jobUuid BINARY(16) NULL"


@dataclass(frozen=True)
class IspybUrls:
    """SQLAlchemy addresses of one database, one for each kind of user."""

    admin: str
    processing: str
    reader: str


@dataclass(frozen=True)
class MariaDb:
    """A running server that makes ISPyB databases on request."""

    port: int
    root_password: str = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False)
    sql_modes: dict[str, str] = field(default_factory=dict)

    def create_ispyb(
        self, name: str, *, job_uuid: bool = False, sql_mode: str | None = None
    ) -> IspybUrls:
        """Create an empty ISPyB with tables, procedures and grants; return its addresses.

        `sql_mode` holds for the procedures and for every later connection to this database; None
        is the server's default, which is strict. ISPyB's own README asks for "".
        """
        if not re.fullmatch(r"\w+", name):
            raise ValueError(f"{name!r} is no name for a database")
        with closing(self.connect_root()) as root, root.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET latin1")
            if sql_mode is not None:
                self._set_sql_mode(root, name, sql_mode)
            self._create_tables(name)
            root.select_db(name)
            for statement in (*UNKNOWN_COLUMNS, *([JOB_UUID] if job_uuid else [])):
                cursor.execute(statement)
            for statement in statements("procedures.sql", separator="//"):
                cursor.execute(statement)
            for statement in statements("grants.sql", separator=";"):
                cursor.execute(self._with_passwords(root, statement))
        return IspybUrls(*(self._url(user, name) for user in ("admin", "processing", "reader")))

    def connect_root(self) -> Connection:
        """Return a new connection as root, without a default database."""
        return pymysql.connect(
            host=HOST,
            port=self.port,
            user="root",
            password=self.root_password,
            autocommit=True,
            read_timeout=10,
        )

    def _url(self, user: str, name: str) -> str:
        return _address(user, self.passwords[user], self.port, name)

    def _create_tables(self, name: str) -> None:
        engine = create_engine(_address("root", self.root_password, self.port, name))
        with engine.begin() as connection:
            Base.metadata.create_all(connection, checkfirst=False)
        engine.dispose()

    def _set_sql_mode(self, root: Connection, name: str, sql_mode: str) -> None:
        """Set the mode of this connection, and of all later ones to the database `name`.

        MariaDB has no mode per database. A procedure keeps the mode it was created under for its
        body, but its arguments are converted under the mode of the caller, so both are needed.
        `init_connect` runs after the default database is chosen, and not for root.
        """
        self.sql_modes[name] = sql_mode
        cases = " ".join(
            f"WHEN {root.escape(name)} THEN {root.escape(mode)}"
            for name, mode in self.sql_modes.items()
        )
        init = f"SET SESSION sql_mode = CASE DATABASE() {cases} ELSE @@GLOBAL.sql_mode END"
        with root.cursor() as cursor:
            cursor.execute("SET SESSION sql_mode = %s", (sql_mode,))
            cursor.execute("SET GLOBAL init_connect = %s", (init,))

    def _with_passwords(self, root: Connection, statement: str) -> str:
        for user, password in self.passwords.items():
            statement = statement.replace(f":{user}_password", root.escape(password))
        return statement


@contextmanager
def private_mariadb(directory: Path) -> Iterator[MariaDb]:
    """Run a new MariaDB server in `directory`, on a free local port, until the block ends.

    Raises:
        RuntimeError: MariaDB is not installed, or its server does not start.
    """
    data_directory = directory / "data"
    _install(data_directory, directory / "install.log")
    port = _free_port()
    server = MariaDb(
        port,
        secrets.token_hex(16),
        {user: secrets.token_hex(16) for user in ("admin", "processing", "reader")},
    )
    init_file = directory / "accounts.sql"
    init_file.touch(mode=0o600)
    init_file.write_text(_only_root(server.root_password))
    with _running(data_directory, port, init_file, directory / "server.log") as is_alive:
        _wait_until_it_answers(server, is_alive, directory / "server.log")
        yield server


def statements(file_name: str, *, separator: str) -> list[str]:
    """Return the statements of a file beside this one; `separator` ends a line and a statement."""
    pieces = (HERE / file_name).read_text().split(f"{separator}\n")
    return [piece for piece in pieces if piece.strip()]


def _address(user: str, password: str, port: int, name: str) -> str:
    url = URL.create("mysql+pymysql", user, password, HOST, port, name, {"charset": "utf8mb4"})
    return url.render_as_string(hide_password=False)


def _program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=SBIN)
    if path is None:
        raise RuntimeError(
            f"`{name}` is not installed, and these tests need a MariaDB server: run `make services`"
        )
    return path


def _as_user() -> list[str]:
    """Return the option without which mariadbd refuses to run as root."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _install(data_directory: Path, log: Path) -> None:
    argv = [
        _program("mariadb-install-db"),
        "--no-defaults",
        f"--datadir={data_directory}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        *_as_user(),
        *SMALL_AND_FAST,
    ]
    with log.open("wb") as output:
        finished = subprocess.run(argv, stdout=output, stderr=subprocess.STDOUT, check=False)
    if finished.returncode != 0:
        raise RuntimeError(f"mariadb-install-db failed:\n{_tail(log)}")


def _only_root(password: str) -> str:
    """Return the statements, one on each line, that leave one account, with a password."""
    return (
        f"ALTER USER root@'{HOST}' IDENTIFIED BY '{password}';\n"
        "DELETE FROM mysql.global_priv"
        f" WHERE User = '' OR (User = 'root' AND Host <> '{HOST}');\n"
        "FLUSH PRIVILEGES;\n"
    )


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(
    data_directory: Path, port: int, init_file: Path, log: Path
) -> Iterator[Callable[[], bool]]:
    argv = [
        *_dying_with_us(),
        _program("mariadbd"),
        "--no-defaults",
        f"--datadir={data_directory}",
        # Relative to the data directory: a socket's path may have 107 characters at most.
        "--socket=server.sock",
        "--pid-file=server.pid",
        f"--bind-address={HOST}",
        f"--port={port}",
        f"--init-file={init_file}",
        "--log-bin-trust-function-creators=1",
        *_as_user(),
        *SMALL_AND_FAST,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield lambda: process.poll() is None
    finally:
        _stop(process)


def _dying_with_us() -> list[str]:
    """Return the prefix that ends the server even if pytest is killed, where Linux has it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_it_answers(server: MariaDb, is_alive: Callable[[], bool], log: Path) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while is_alive() and time.monotonic() < give_up_at:
        try:
            server.connect_root().close()
        except pymysql.err.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"mariadbd did not start:\n{_tail(log)}")


def _tail(log: Path, n_lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-n_lines:])

"""A private PostgreSQL server that makes empty databases, and that can be killed and come back.

A database belongs to an ordinary role, as in production; its password is random. The server takes
about two seconds to install and start, a database about a tenth of a second.
"""

import fcntl
import os
import pwd
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import URL

HOST = "127.0.0.1"
ADMIN, OWNER = "postgres", "limsflow"
VERSIONS = Path("/usr/lib/postgresql")  # Debian keeps a folder for each version, not on the PATH
UNPRIVILEGED = ("postgres", "nobody")
PREFIX = "limsflow-postgres-"
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 15
CONNECT_TIMEOUT_S = 10

INSTALL = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")

# synchronous_commit stays on: without fsync it costs no waiting for a disk, and what was committed
# must be there after a kill, as in production, or a test of survival would prove nothing.
SMALL_AND_FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "16MB",
    "max_connections": "120",
    "dynamic_shared_memory_type": "mmap",  # in the data directory, so that it goes with it
    "deadlock_timeout": "100ms",
}


class PostgresServer:
    """A server that makes databases on request; `kill` and `restart` keep their rows."""

    def __init__(self, directory: Path) -> None:
        self.port = _free_port()
        self.directory = directory
        self._passwords = {user: secrets.token_hex(16) for user in (ADMIN, OWNER)}
        self._process: subprocess.Popen[bytes] | None = None

    def install(self) -> None:
        """Make the data directory, with one account that has a password.

        Raises:
            RuntimeError: PostgreSQL is not installed, or its installer fails.
        """
        password_file, log = self.directory / "password", self.directory / "install.log"
        password_file.touch(mode=0o600)
        password_file.write_text(self._passwords[ADMIN])
        _give_away(password_file)
        given = (f"--pgdata={self._data}", f"--username={ADMIN}", f"--pwfile={password_file}")
        argv = _command("initdb", *given, *INSTALL)
        with log.open("wb") as output:
            finished = subprocess.run(
                argv, cwd=self.directory, stdout=output, stderr=subprocess.STDOUT, check=False
            )
        if finished.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{_tail(log)}")

    def start(self) -> None:
        """Start the server and wait until it answers.

        Linux ends it when the thread that called this ends: call it in the main one.

        Raises:
            RuntimeError: it does not start.
        """
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._argv(), cwd=self.directory, stdout=output, stderr=subprocess.STDOUT
            )
        self._wait_until_it_answers()

    def kill(self) -> None:
        """End the server and each of its connections at once, with no time to say good-bye.

        Does nothing if it does not run.
        """
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        for backend in _stopped_with_children(process.pid):
            _kill_and_wait(backend)
        process.kill()
        process.wait()

    def restart(self) -> None:
        """Kill the server, if it runs, and start it on the same data and the same port."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End the server as at the end of the tests: nothing has to be kept."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def create_database(self, name: str) -> str:
        """Create an empty database; return the SQLAlchemy URL of the role that owns it."""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", name):
            raise ValueError(f"{name!r} is no name for a database")
        create = sql.SQL("CREATE DATABASE {} OWNER {}")
        with self.connect_admin() as admin:
            admin.execute(create.format(sql.Identifier(name), sql.Identifier(OWNER)))
        password = self._passwords[OWNER]
        url = URL.create("postgresql+psycopg", OWNER, password, HOST, self.port, name)
        return url.render_as_string(hide_password=False)

    def connect_admin(self, database: str = "postgres") -> psycopg.Connection:
        """Return a new connection as superuser, in which each statement is its own transaction."""
        return psycopg.connect(
            host=HOST,
            port=self.port,
            user=ADMIN,
            password=self._passwords[ADMIN],
            dbname=database,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
        )

    def create_owner(self) -> None:
        """Create the role that owns the databases; it may do nothing else."""
        create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        with self.connect_admin() as admin:
            admin.execute(create.format(sql.Identifier(OWNER), self._passwords[OWNER]))

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"

    def _argv(self) -> list[str]:
        settings = SMALL_AND_FAST | {
            "listen_addresses": HOST,
            "port": str(self.port),
            # The data directory itself: a socket's path may have 107 characters at most.
            "unix_socket_directories": ".",
        }
        chosen = [f"--{name}={value}" for name, value in settings.items()]
        return _command("postgres", "-D", str(self._data), *chosen)

    def _wait_until_it_answers(self) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while self._is_alive() and time.monotonic() < give_up_at:
            try:
                self.connect_admin().close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        self.kill()
        raise RuntimeError(f"postgres did not start:\n{_tail(self._log)}")

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None


@contextmanager
def private_postgres() -> Iterator[PostgresServer]:
    """Run a new PostgreSQL server, on a free local port, until the block ends.

    Raises:
        RuntimeError: PostgreSQL is not installed, or its server does not start.
    """
    with _own_directory() as directory:
        server = PostgresServer(directory)
        try:
            server.install()
            server.start()
            server.create_owner()
            yield server
        finally:
            server.stop()


@contextmanager
def _own_directory() -> Iterator[Path]:
    """Make a directory that the server's account can reach, and remove it afterwards.

    The server refuses to run as root, and no other account can enter pytest's directories. The
    lock says that we are alive: what a killed pytest left has none, and goes at the next start.
    """
    _remove_what_the_dead_left()
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _give_away(directory)
        yield directory
    finally:
        shutil.rmtree(directory)
        os.close(lock)


def _remove_what_the_dead_left() -> None:
    a_minute_ago = time.time() - 60  # one that was made just now may not have its lock yet
    owner = _account().pw_uid if os.geteuid() == 0 else os.geteuid()
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            facts = directory.lstat()
            if facts.st_uid == owner and facts.st_mtime < a_minute_ago and _is_free(directory):
                shutil.rmtree(directory)


def _is_free(directory: Path) -> bool:
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _account() -> pwd.struct_passwd:
    """Return the account that the server runs as when we are root, which it refuses."""
    for name in UNPRIVILEGED:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("there is no account `postgres` to run a server as: run `make services`")


def _give_away(path: Path) -> None:
    if os.geteuid() == 0:
        account = _account()
        os.chown(path, account.pw_uid, account.pw_gid)


def _command(name: str, *arguments: str) -> list[str]:
    program = _program(name)
    return [*_setpriv(), program, *arguments]


def _setpriv() -> list[str]:
    """Return the prefix that ends a program even if pytest is killed, and that gives up root."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0:
        return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    if setpriv is None:
        raise RuntimeError("`setpriv` of util-linux is not installed: run `make services`")
    account = _account()
    become = (f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
    return [setpriv, *become, "--pdeathsig", "KILL"]


def _program(name: str) -> str:
    newest_first = sorted(VERSIONS.glob("*/bin"), key=_version, reverse=True)
    found = shutil.which(name, path=os.pathsep.join(map(str, newest_first))) or shutil.which(name)
    if found is None:
        raise RuntimeError(
            f"`{name}` is not installed, and these tests need a PostgreSQL server:"
            " run `make services`"
        )
    return found


def _version(binaries: Path) -> float:
    text = binaries.parent.name
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _stopped_with_children(pid: int) -> list[int]:
    """Stop a process, so that it starts nothing more; return handles of its children."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    with suppress(FileNotFoundError, ProcessLookupError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [os.pidfd_open(int(child)) for child in children]
    return []


def _kill_and_wait(process: int) -> None:
    """Kill a process that is not our child, by its handle, and wait until it is gone.

    Until the last of them is, the server refuses to start again on the same data.
    """
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    select.select([process], [], [])
    os.close(process)


def _tail(log: Path, n_lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-n_lines:])

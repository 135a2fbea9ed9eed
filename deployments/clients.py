"""Who may ask the gateway for what: tokens stored hashed, rights, and how often.

A token is 32 random bytes. Nobody can guess one or try all, so its SHA-256 is kept, and not a
slow hash as of a password that a person chose. The file is JSON, readable by its owner only,
replaced as a whole; a gateway that runs sees the change with the next request.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from blocks.errors import InvalidRequest
from blocks.record import Record
from deployments.embedded import default_home
from deployments.endpoints import ALL, RIGHTS

PREFIX = "lf_"  # tells a token from other secrets, to whoever finds one
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
REMEMBERED = 10_000  # addresses whose attempts are counted

logger = logging.getLogger(__name__)


class Client(Record):
    """A program of the LIMS, or a person, that has a token."""

    name: str = Field(pattern=NAME)
    token_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    rights: frozenset[str]
    rate_per_s: float = Field(
        default=10.0, gt=0, le=10_000, description="requests, in the long run"
    )
    burst: int = Field(default=50, ge=1, le=100_000, description="requests at once")
    added: datetime

    def may(self, right: str) -> bool:
        """Whether it has this right."""
        return bool({right, ALL} & self.rights)


class ClientFile(Record):
    """All clients, as the file has them."""

    clients: tuple[Client, ...] = ()


class Clients:
    """The clients of a file, read again when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._file = read_clients(path)

    def of_token(self, token: str) -> Client | None:
        """Return whose token this is; all are compared, each in constant time."""
        self._look_again()
        digest = digest_of(token)
        found = [
            one
            for one in self._file.clients
            if secrets.compare_digest(one.token_sha256.encode(), digest.encode())
        ]
        return found[0] if found else None

    def _look_again(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._file = read_clients(self._path)
            logger.info("the clients were changed: %d now", len(self._file.clients))
        except InvalidRequest as failure:  # a slip of the editor must not lock everybody out
            logger.error("%s; the clients stay what they were", failure)  # noqa: TRY400 - says all


class Buckets:
    """How often each name may ask: a bucket of requests that fills at its rate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = OrderedDict[str, tuple[float, float]]()

    def wait_s(self, name: str, rate_per_s: float, burst: int) -> float:
        """Take one request out of a name's bucket; return 0, or the seconds until there is one."""
        now = self._clock()
        left, then = self._left.pop(name, (float(burst), now))
        left = min(float(burst), left + (now - then) * rate_per_s)
        wait_s = 0.0 if left >= 1 else (1 - left) / rate_per_s
        self._left[name] = (left if wait_s else left - 1, now)
        while len(self._left) > REMEMBERED:
            self._left.popitem(last=False)
        return wait_s


def digest_of(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def clients_path(given: Path | None) -> Path:
    """Return the path given, or that of the default home."""
    return given or default_home() / "clients.json"


def read_clients(path: Path) -> ClientFile:
    """Return the clients of a file; of one that is not there, none.

    Raises:
        InvalidRequest: it cannot be read, or is no file of clients.
    """
    try:
        return ClientFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return ClientFile()
    except OSError as error:
        msg = f"the file of clients {path} cannot be read: {error.strerror}"
        raise InvalidRequest(msg) from error
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        said = f"{where}: {error.errors(include_input=False)[0]['msg']}".removeprefix(": ")
        msg = f"{path} is no file of clients ({said}): see 'limsflow client add'"
        raise InvalidRequest(msg) from None


# Commands


def add_client(options: argparse.Namespace) -> int:
    """Add a client, or renew the token of one; the token is printed this once.

    Raises:
        InvalidRequest: there is one of this name, no such right, or the file cannot be written.
    """
    unknown = sorted(set(options.right) - set(RIGHTS))
    if unknown:
        msg = f"there is no right {unknown[0]!r}: the rights are {', '.join(RIGHTS)}"
        raise InvalidRequest(msg)
    token = PREFIX + secrets.token_urlsafe(32)
    path = clients_path(options.clients)
    with _changing(path) as clients:
        known = clients.get(options.name)
        _require_sense(options, known)
        clients[options.name] = _client(options, known, digest_of(token))
        rights = sorted(clients[options.name].rights)
    said = {"name": options.name, "token": token, "rights": rights, "file": str(path)}
    print(json.dumps(said) if options.json else f"{token}\n{_ONCE.format(**said)}")
    return 0


_ONCE = "This is the token of {name}, shown this once. It may: {rights}. Kept hashed in {file}."


def list_clients(options: argparse.Namespace) -> int:
    """Print who may do what; nobody can print a token."""
    found = read_clients(clients_path(options.clients)).clients
    if options.json:
        shown = [one.model_dump(mode="json", exclude={"token_sha256"}) for one in found]
        print(json.dumps([one | {"rights": sorted(one["rights"])} for one in shown]))
        return 0
    for one in found:
        often = f"{one.rate_per_s:g}/s, {one.burst} at once"
        print(f"{one.name}\t{', '.join(sorted(one.rights))}\t{often}\t{one.added:%Y-%m-%d}")
    if not found:
        print("there are no clients: 'limsflow client add NAME --right assemble'")
    return 0


def remove_client(options: argparse.Namespace) -> int:
    """Take a client's token away, at once.

    Raises:
        InvalidRequest: there is none of this name.
    """
    with _changing(clients_path(options.clients)) as clients:
        if options.name not in clients:
            msg = f"there is no client {options.name!r}: see 'limsflow client list'"
            raise InvalidRequest(msg)
        del clients[options.name]
    print(json.dumps({"removed": options.name}) if options.json else f"removed: {options.name}")
    return 0


def _require_sense(options: argparse.Namespace, known: Client | None) -> None:
    if known and not options.renew:
        msg = f"there is a client {options.name!r}: --renew gives it a new token"
        raise InvalidRequest(msg)
    if options.renew and not known:
        msg = f"there is no client {options.name!r} to renew: see 'limsflow client list'"
        raise InvalidRequest(msg)
    if not (options.right or known):
        msg = f"say what {options.name!r} may do: --right {RIGHTS[0]}"
        raise InvalidRequest(msg)


def _client(options: argparse.Namespace, known: Client | None, digest: str) -> Client:
    """Return the client that the options describe; what they leave out stays as it was."""
    facts = known.model_dump() if known else {"name": options.name}
    given = {"rate_per_s": options.rate, "burst": options.burst, "rights": options.right or None}
    facts |= {name: value for name, value in given.items() if value is not None}
    try:
        moment = datetime.now(UTC).replace(microsecond=0)
        return Client.model_validate({**facts, "token_sha256": digest, "added": moment})
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        msg = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
        raise InvalidRequest(msg) from None


@contextlib.contextmanager
def _changing(path: Path) -> Generator[dict[str, Client], None, None]:
    """Give the clients by name, and write what became of them, one command at a time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            clients = {one.name: one for one in read_clients(path).clients}
            yield clients
            _write(path, ClientFile(clients=tuple(clients.values())))
    except OSError as error:
        msg = f"the file of clients {path} cannot be written: {error.strerror}"
        raise InvalidRequest(msg) from error


def _write(path: Path, clients: ClientFile) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123 - by descriptor, so that it never was readable
        file.write(clients.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes with a file; zeros if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino

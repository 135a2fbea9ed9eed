"""One file over https to the disk: resumed where it was cut, tried again, checked, then named.

What is not complete and checked has the suffix `.part`; beside it, `.part.json` holds what the
server called this version of the file, so that a later run resumes the same file or none.
"""

import asyncio
import contextlib
import hashlib
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import Field, ValidationError

from blocks.errors import InvalidRequest, NoSuchRecord, ServiceUnavailable, TransientError
from blocks.record import Record

MAX_REDIRECTS = 5
MAX_TEXT_BYTES = 5_000_000
TEXT_TIMEOUTS = 5  # a short answer, with all its attempts
LONGEST_PAUSE_S = 120.0
PROGRESS = 8 << 20  # a cut after at least this much counts as the first failure again
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
ResultT = TypeVar("ResultT")
Heard = Callable[[float], None]


class Patience(Record):
    """How long a server is asked, and how much is taken from it."""

    attempts: int = Field(
        default=4, ge=1, description="failures in a row at one server, before the next is asked"
    )
    pause_s: float = Field(
        default=2.0,
        ge=0,
        description="after the first failure; doubled after each further one, and 50 % up or down",
    )
    timeout_s: float = Field(default=60.0, gt=0, description="to connect, and without a byte")
    file_timeout_s: float = Field(
        default=6 * 3600.0, gt=0, description="for one file, with all its attempts"
    )
    max_bytes: int = Field(default=20_000_000_000, ge=1, description="of one file as it is fetched")


class RemoteFile(Record):
    """A file on a server, with what is known of it."""

    url: str
    size: int | None = Field(default=None, ge=0, description="in bytes")
    md5: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")


class _Refused(ServiceUnavailable):
    """The server answered, and would answer the same again."""


class _NoSuchRange(ServiceUnavailable):
    """The server's file ends before the place where ours was cut: it is another one."""


class _Version(Record):
    """What a server calls the file that was begun."""

    url: str
    tag: str


class Downloader:
    """Fetches from servers that fail now and then.

    Args:
        client: Must not follow redirects: where they may lead is decided here.
        patience: Limits and pauses.
    """

    def __init__(self, client: httpx.AsyncClient, patience: Patience) -> None:
        self._client = client
        self._patience = patience

    async def text(self, url: str) -> str:
        """Return a small document; empty if the server has nothing to say (204).

        Raises:
            NoSuchRecord: the server does not know it (404, 410).
            ServiceUnavailable: no attempt brought it.
        """

        async def attempt() -> str:
            with _told_by(url):
                async with self._answer(url, {}) as answer:
                    content = bytearray()
                    async for piece in answer.aiter_bytes():
                        content += piece
                        if len(content) > MAX_TEXT_BYTES:
                            raise _Refused(f"{answer.url.host} sent more than a short answer")
                    return content.decode(errors="replace")

        limit_s = TEXT_TIMEOUTS * self._patience.timeout_s
        return await self._patiently(url, attempt, lambda: 0, limit_s)

    async def file(self, wanted: RemoteFile, target: Path, heard: Heard) -> None:
        """Fetch a file, unless it is there with the right MD5 already.

        Without an MD5, what has the target's name is taken as complete: only whole files get it.

        Args:
            wanted: Where it is, and what is known of it.
            target: Its name once it is complete and checked; its directory must exist.
            heard: Called with the fraction (0-1) that is there; only if the size is known.

        Raises:
            NoSuchRecord: the server does not have it (404, 410).
            ServiceUnavailable: no attempt brought it whole and right.
            InvalidRequest: it is larger than the limit.
            TransientError: this disk does not take it.
        """
        if target.is_file() and await _is_right(target, wanted):
            return
        part = _Part(target)
        self._require_small(wanted.size or 0, part)
        await self._patiently(
            wanted.url,
            lambda: self._attempt(wanted, part, heard),
            lambda: part.size,
            self._patience.file_timeout_s,
        )
        with disk_of(target):
            part.path.replace(target)
            part.forget()

    async def _attempt(self, wanted: RemoteFile, part: "_Part", heard: Heard) -> None:
        with disk_of(part.path):
            part.path.touch()
        if wanted.size is None or part.size != wanted.size:
            try:
                with _told_by(wanted.url):
                    await self._fetch(wanted, part, heard)
            except _NoSuchRange:
                part.begin_anew()
                raise
        if not await _is_right(part.path, wanted):
            part.begin_anew()
            host = httpx.URL(wanted.url).host
            msg = f"{host} sent {part.name} damaged: its MD5 is not {wanted.md5}"
            raise ServiceUnavailable(msg)

    async def _fetch(self, wanted: RemoteFile, part: "_Part", heard: Heard) -> None:
        """Get what is missing; start anew if the server does not go on where we were."""
        async with self._answer(wanted.url, part.resume(wanted)) as answer:
            total = part.begin(wanted, answer)
            self._require_small(total or 0, part)
            if wanted.size not in (None, total or wanted.size):
                part.begin_anew()
                msg = f"{part.name} has {total} bytes at {answer.url.host}, not {wanted.size}"
                raise ServiceUnavailable(msg)
            async for piece in answer.aiter_raw():  # as it is stored: never unpacked on the way
                size = part.append(piece)
                self._require_small(size, part)
                if total:
                    heard(min(1.0, size / total))
                if size > (wanted.size or size):
                    break
        _require_whole(part, total or wanted.size, answer)

    def _require_small(self, size: int, part: "_Part") -> None:
        if size > self._patience.max_bytes:
            part.drop()
            msg = f"{part.name} is larger than the limit of {self._patience.max_bytes:,} bytes"
            raise InvalidRequest(msg)

    async def _patiently(
        self,
        url: str,
        attempt: Callable[[], Awaitable[ResultT]],
        size: Callable[[], int],
        limit_s: float,
    ) -> ResultT:
        failures = 0
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    before = size()
                    try:
                        return await attempt()
                    except _Refused:
                        raise
                    except ServiceUnavailable:
                        failures = 1 if size() - before > PROGRESS else failures + 1
                        if failures >= self._patience.attempts:
                            raise
                    await asyncio.sleep(self._pause(failures))
        except TimeoutError as error:
            msg = f"{httpx.URL(url).host} did not send it all within {limit_s:g} s"
            raise ServiceUnavailable(msg) from error

    def _pause(self, failures: int) -> float:
        longest = min(LONGEST_PAUSE_S, self._patience.pause_s * 2 ** (failures - 1))
        return longest * secrets.SystemRandom().uniform(0.5, 1.5)

    @contextlib.asynccontextmanager
    async def _answer(
        self, url: str, headers: dict[str, str]
    ) -> AsyncGenerator[httpx.Response, None]:
        """Yield a good answer whose body is not read yet, after redirects that are allowed."""
        request = self._client.build_request("GET", url, headers=headers)
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._client.send(request, stream=True)
            try:
                if answer.next_request is None:
                    _require_good(answer)
                    yield answer
                    return
            finally:
                await answer.aclose()
            request = answer.next_request
            require_safe_redirect(url, str(request.url))
        raise _Refused(f"{httpx.URL(url).host} redirects more than {MAX_REDIRECTS} times")


class _Part:
    """A file that is not complete yet."""

    def __init__(self, target: Path) -> None:
        self.name = target.name
        self.path = target.with_name(f"{target.name}.part")
        self._version = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def resume(self, wanted: RemoteFile) -> dict[str, str]:
        """Return the headers that ask for the rest; none if what is here may be of another file.

        With an MD5 it need not be sure: a wrong mixture is found out, and fetched anew.
        """
        version = self._remembered()
        same = version is not None and version.url == wanted.url
        if not self.size or not (same or wanted.md5) or self.size > (wanted.size or self.size):
            return {}
        condition = {"If-Range": version.tag} if version and same else {}
        return {"Range": f"bytes={self.size}-", **condition}

    def begin(self, wanted: RemoteFile, answer: httpx.Response) -> int | None:
        """Make ready for the answer's body; return how large the whole file is, if that is said."""
        if answer.status_code == HTTPStatus.PARTIAL_CONTENT:
            found = CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
            if not found or int(found[1]) != self.size:
                self.begin_anew()
                msg = f"{answer.url.host} sent another part of {self.name} than was asked for"
                raise ServiceUnavailable(msg)
            return None if found[2] == "*" else int(found[2])
        self.begin_anew()
        self._remember(wanted.url, answer)
        length = answer.headers.get("content-length", "")
        return int(length) if length.isdecimal() else None

    def append(self, piece: bytes) -> int:
        """Write a piece; return the size."""
        with disk_of(self.path), self.path.open("ab") as file:
            file.write(piece)
            return file.tell()

    def begin_anew(self) -> None:
        with disk_of(self.path):
            self.path.write_bytes(b"")
            self.forget()

    def drop(self) -> None:
        with disk_of(self.path):
            self.path.unlink(missing_ok=True)
            self.forget()

    def forget(self) -> None:
        self._version.unlink(missing_ok=True)

    def _remember(self, url: str, answer: httpx.Response) -> None:
        """Keep the entity tag, if it is a strong one, or else when the file was changed."""
        tag = answer.headers.get("etag", "")
        if not tag or tag.startswith("W/"):
            tag = answer.headers.get("last-modified", "")
        if tag:
            with disk_of(self._version):
                self._version.write_text(_Version(url=url, tag=tag).model_dump_json())

    def _remembered(self) -> _Version | None:
        try:
            return _Version.model_validate_json(self._version.read_text())
        except (FileNotFoundError, ValidationError):
            return None


def _require_whole(part: _Part, size: int | None, answer: httpx.Response) -> None:
    if size is None or part.size == size:
        return
    msg = f"{answer.url.host} sent {part.size} bytes of {part.name}, which has {size}"
    raise ServiceUnavailable(msg)


async def _is_right(path: Path, wanted: RemoteFile) -> bool:
    return wanted.md5 is None or wanted.md5 == await asyncio.to_thread(md5_of, path)


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, as archives give it.

    Raises:
        TransientError: this disk does not give it.
    """
    with disk_of(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def require_safe_redirect(asked: str, location: str) -> None:
    """Require that a redirect leads to https, or stays with the scheme that was asked for.

    Raises:
        ServiceUnavailable: it leads elsewhere.
    """
    scheme = httpx.URL(location).scheme
    if scheme not in ("https", httpx.URL(asked).scheme):
        host = httpx.URL(asked).host
        raise _Refused(f"{host} redirects to {scheme!r}, which is not followed: only https is")


@contextlib.contextmanager
def disk_of(path: Path, done: str = "written") -> Generator[None, None, None]:
    """Say clearly that this disk, not a server, is the trouble.

    Raises:
        TransientError: the disk is full, or cannot be written or read.
    """
    try:
        yield
    except OSError as error:
        msg = f"{path} cannot be {done}: {error.strerror}; make room or mend the disk"
        raise TransientError(msg) from error


@contextlib.contextmanager
def _told_by(url: str) -> Generator[None, None, None]:
    """Turn what the network did into a sentence with the server's name."""
    host = httpx.URL(url).host
    try:
        yield
    except httpx.ConnectError as error:
        raise ServiceUnavailable(f"{host} cannot be reached: {error}") from error
    except httpx.TimeoutException as error:
        raise ServiceUnavailable(f"{host} did not answer in time") from error
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise ServiceUnavailable(f"{host} broke off: {reason}") from error


def _require_good(answer: httpx.Response) -> None:
    status = answer.status_code
    if answer.is_success:
        return
    said = f"{answer.url.host} answered {status} {answer.reason_phrase}".rstrip()
    if status in GONE:
        raise NoSuchRecord(said)
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise _NoSuchRange(said)
    if answer.is_server_error or status in BUSY:
        raise ServiceUnavailable(said)
    raise _Refused(said)

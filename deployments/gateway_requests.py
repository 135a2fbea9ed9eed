"""What a request to the gateway may hold, and who sent it: nothing else goes further."""

import asyncio
import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Never

from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from blocks.errors import InvalidRequest
from deployments.clients import Buckets, Client, Clients
from deployments.endpoints import BLOCKS, Endpoint

BODY_TIMEOUT_S = 30.0  # from the first byte of a body to its last
LARGE = 100_000  # bytes that are better read in a thread
LONGEST_KEY = 200
LARGEST_INT = 2**63 - 1  # Prefect could store a larger one, and then never read its run again
PLACES = 20  # that an answer names
STRANGER_RATE_PER_S, STRANGER_BURST = 1.0, 20  # attempts without a known token, by address
REALM = 'Bearer realm="limsflow"'
HYDRATED = "__prefect_kind"  # what Prefect would replace by something else

BLOCK_NAME = re.compile("[A-Za-z0-9-]{1,100}")  # Prefect's own rule; toolchains have PATH, too

Place = dict[str, str]


class Unfit(InvalidRequest):
    """A body that is not what the endpoint takes, and where.

    Args:
        places: Path in the body, and what is wrong there.
    """

    def __init__(self, message: str, places: list[Place]) -> None:
        super().__init__(message)
        self.places = places


@dataclass(frozen=True)
class Gate:
    """Lets a request in if its client is known, may do this, and does not ask too often."""

    clients: Clients
    buckets: Buckets

    def admit(self, request: Request) -> Client:
        """Return who sent a request; raise an answer of 401 or 429 if nobody known, too often."""
        token = token_of(request)
        client = self.clients.of_token(token) if token else None
        if client is None:
            self._turn_away(request, has_token=bool(token))
        wait_s = self.buckets.wait_s(f"client {client.name}", client.rate_per_s, client.burst)
        if wait_s:
            too_many(f"{client.name} asks more than {client.rate_per_s:g} times a second", wait_s)
        return client

    def _turn_away(self, request: Request, *, has_token: bool) -> Never:
        address = request.client.host if request.client else ""
        wait_s = self.buckets.wait_s(f"from {address}", STRANGER_RATE_PER_S, STRANGER_BURST)
        if wait_s:
            too_many("too many requests without a valid token came from this address", wait_s)
        said = "this token is not known" if has_token else "the request has no token"
        msg = f"{said}: send 'Authorization: Bearer TOKEN' with one of 'limsflow client add'"
        raise HTTPException(HTTPStatus.UNAUTHORIZED, msg, headers={"WWW-Authenticate": REALM})


def require(client: Client, right: str) -> None:
    """Raise an answer of 403 if a client may not do this."""
    if not client.may(right):
        msg = f"{client.name} lacks the right {right!r}"
        raise HTTPException(HTTPStatus.FORBIDDEN, msg)


def too_many(reason: str, wait_s: float) -> Never:
    """Raise an answer of 429."""
    headers = {"Retry-After": str(math.ceil(wait_s))}
    raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, reason, headers=headers)


def token_of(request: Request) -> str:
    """Return the token that a request shows, as bearer or as the user of HTTP Basic; or nothing."""
    shown = request.headers.getlist("authorization")
    if len(shown) != 1:
        return ""
    scheme, _, value = shown[0].partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value
    return _basic_user(value) if scheme.lower() == "basic" else ""


def _basic_user(value: str) -> str:
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return ""
    return "" if password else user


def idempotency_key(request: Request) -> str | None:
    """Return what a request calls itself, so that it can be repeated; None if it does not.

    Raises:
        InvalidRequest: not 1 to 200 printable ASCII characters, or more than one.
    """
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    key = given[0]
    if (
        len(given) > 1
        or not 1 <= len(key) <= LONGEST_KEY
        or not (key.isascii() and key.isprintable())
    ):
        msg = f"the header Idempotency-Key is once 1 to {LONGEST_KEY} printable ASCII characters"
        raise InvalidRequest(msg)
    return key


async def parameters_of(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    """Return the parameters that a request gives; those that it leaves out are not there.

    Raises:
        Unfit: the body is not what the flow takes.
    """
    raw = await body_of(request, endpoint.largest_body)
    if len(raw) > LARGE:
        return await asyncio.to_thread(checked, raw, endpoint.body, endpoint.free_text)
    return checked(raw, endpoint.body, endpoint.free_text)


async def body_of(request: Request, largest: int) -> bytes:
    """Return the body of a request of JSON; raise an answer of 408, 413 or 415 otherwise."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        msg = "the body is JSON: send 'Content-Type: application/json'"
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, msg)
    said = request.headers.get("content-length", "0")
    if not said.isdecimal() or int(said[:20]) > largest:
        _too_large(largest)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _received(request, largest)
    except TimeoutError:
        msg = f"the body did not come within {BODY_TIMEOUT_S:g} s"
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, msg) from None
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the client has gone") from None


async def _received(request: Request, largest: int) -> bytes:
    """Count what comes: a body in pieces says no length."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > largest:
            _too_large(largest)
    return bytes(body)


def _too_large(largest: int) -> Never:
    msg = f"the body is larger than {largest} bytes"
    raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, msg)


def checked(
    raw: bytes, model: type[BaseModel], free_text: frozenset[str] | None = frozenset()
) -> dict[str, Any]:
    """Return a body as it is, if it is an object that this model takes.

    Args:
        raw: The body.
        model: What it must be, strictly: as its JSON schema says.
        free_text: Where an address may stand; None: everywhere.

    Raises:
        Unfit: it is not, or it holds what JSON itself or what stores it cannot: a key twice, NaN,
            a NUL, half a surrogate pair, a whole number of more than 64 bits; or an address.
    """
    try:
        model.model_validate_json(raw, strict=True)
    except ValidationError as error:
        places = [_place(one["loc"], one["msg"]) for one in _first(error)]
        msg = f"the body is not what this endpoint takes: {_sentence(places[0])}"
        raise Unfit(msg, places) from None
    found: dict[str, Any] = json.loads(raw, object_pairs_hook=_without_repeats)
    for place, value in _leaves(found, ()):
        where = _path(place)
        wrong = _wrong(where, value, free_text is None or where in free_text)
        if wrong:
            said = _place(place, wrong)
            raise Unfit(f"the body holds what it may not: {_sentence(said)}", [said])
    return found


def digest_of(*parts: object) -> str:
    """Return a digest of values of JSON; the order of keys does not matter."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _first(error: ValidationError) -> list[Any]:
    # The input is left out of the answer: it may be long, and secret.
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return list(found[:PLACES])


def _place(place: tuple[int | str, ...], wrong: str) -> Place:
    return {"place": ".".join(str(part) for part in place)[:200], "error": wrong[:500]}


def _sentence(place: Place) -> str:
    return f"{place['place']}: {place['error']}" if place["place"] else place["error"]


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict[str, Any]()
    for name, value in pairs:
        if name in found:
            raise Unfit("the body has a key twice", [_place((name,), "stands twice")])
        found[name] = value
    if HYDRATED in found:
        raise Unfit("the body has a key of Prefect's own", [_place((HYDRATED,), "is refused")])
    return found


def _path(place: tuple[int | str, ...]) -> str:
    return ".".join(part for part in place if isinstance(part, str))


def _leaves(
    value: Any, place: tuple[int | str, ...]
) -> Iterator[tuple[tuple[int | str, ...], Any]]:
    """Yield every value that holds no other, and where it is."""
    if isinstance(value, dict):
        for name, one in value.items():  # pyright: ignore[reportUnknownVariableType] - JSON
            yield from _leaves(one, (*place, str(name)))  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list):
        for number, one in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
            yield from _leaves(one, (*place, number))
    else:
        yield place, value


def _wrong(place: str, value: Any, is_free_text: bool) -> str:
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        return "a whole number has at most 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number is finite"
    if isinstance(value, str) and "\0" in value:
        return "no text holds a NUL"
    if isinstance(value, str) and "://" in value and not is_free_text:
        return "no address is taken: databases and programs are named by their blocks"
    if place in BLOCKS and not BLOCK_NAME.fullmatch(str(value)):
        return "the name of a block has letters, digits and dashes"
    return ""

"""Old JSON texts that were encoded more than once, written as they should be: nothing is lost.

Where writing a text anew would change what it says, it is not: a key that is there twice, a number
with more digits than a computer's, `NaN`.
"""

import json
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, NoReturn

from blocks.errors import InconsistentInput
from blocks.genomics.changes import Why, WhyLeft
from blocks.genomics.legacy_json import MOST_LAYERS, decoded, encoded, plain_text

POINTERS = ("file_pointer", "file_location")


class OldJson(NamedTuple):
    """What an old text says, and how it should be written."""

    data: dict[str, Any]  # empty if it cannot be read
    anew: str | None = None  # None: it stays as it is
    why: Why = Why.LAYERS
    why_left: WhyLeft | None = None  # what is wrong with a text that stays
    said: str = ""


def old_json(text: str | None, what: str) -> OldJson:
    """Return what an old text says, and how it should be written.

    Args:
        text: Of the column; a driver that decodes JSON itself gives an object.
        what: Names the text in a message.
    """
    try:
        data = decoded(text, what)
    except InconsistentInput as error:
        return OldJson({}, why_left=WhyLeft.DAMAGED, said=str(error))
    layered = isinstance(text, str) and text.lstrip().startswith('"')
    pointers = _plain_pointers(data)
    if not isinstance(text, str) or not data or not (layered or pointers):
        return OldJson(data)
    try:
        json.loads(_innermost(text), object_pairs_hook=_once, parse_float=_exact,
                   parse_constant=_refused)  # fmt: skip
        anew = encoded(data | pointers)
    except (ValueError, RecursionError) as error:
        return OldJson(data, why_left=WhyLeft.LOSSY, said=f"{what}: {error}")
    return OldJson(data, anew=anew, why=Why.LAYERS if layered else Why.POINTER)


def _plain_pointers(data: dict[str, Any]) -> dict[str, str]:
    texts = {name: data[name] for name in POINTERS if isinstance(data.get(name), str)}
    return {name: plain_text(text) for name, text in texts.items() if plain_text(text) != text}


def _innermost(text: str) -> str:
    for _ in range(MOST_LAYERS):
        if not text.lstrip().startswith('"'):
            break
        text = json.loads(text)
    return text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "a key is there twice"
        raise ValueError(msg)
    return found


def _exact(text: str) -> float:
    number = float(text)
    try:
        same = Decimal(text) == Decimal(repr(number))
    except InvalidOperation:
        same = False
    if not same:
        msg = f"the number {text[:40]} has too many digits"
        raise ValueError(msg)
    return number


def _refused(text: str) -> NoReturn:
    msg = f"{text} is no number in JSON"
    raise ValueError(msg)

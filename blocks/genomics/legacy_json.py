"""JSON in EnteroBase's text columns: some of it was encoded twice, all of it is kept."""

import json
from typing import Any

from blocks.errors import InconsistentInput

MOST_LAYERS = 5


def decoded(text: str | None, what: str) -> dict[str, Any]:
    """Return the object in a column, however often it was encoded; empty for an empty column.

    Raises:
        InconsistentInput: it is not JSON, or not an object.
    """
    value: Any = text
    for _ in range(MOST_LAYERS):
        if not isinstance(value, str):
            break
        if not value.strip():
            return {}
        value = _loaded(value, what)
    if value is None:
        return {}
    if not isinstance(value, dict):
        msg = f"{what} holds JSON that is no object: {str(text)[:80]}"
        raise InconsistentInput(msg)
    return dict[str, Any](value)  # pyright: ignore[reportUnknownArgumentType] - keys are text in JSON


def plain_text(value: object) -> str:
    """Return a text that may have been encoded again, such as `file_pointer`."""
    text = str(value)
    for _ in range(MOST_LAYERS):
        if not (text.startswith('"') and text.endswith('"') and len(text) > 1):
            break
        try:
            inner = json.loads(text)
        except ValueError:
            break
        if not isinstance(inner, str):
            break
        text = inner
    return text


def encoded(value: dict[str, Any]) -> str:
    """Return an object as a column holds it: encoded once, in ASCII, as the site does it."""
    return json.dumps(value)


def _loaded(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{what} holds no JSON: {text[:80]}"
        raise InconsistentInput(msg) from error

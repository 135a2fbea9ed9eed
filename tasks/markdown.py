"""Markdown for Prefect's page, out of texts that others wrote: names, messages, addresses.

A text from outside is shown as it is and changes nothing else of the page: it opens no HTML, no
heading, no link, no cell of a table.
"""

import re
from collections.abc import Sequence
from urllib.parse import quote

# Control characters, marks that reverse the direction of writing, halves of characters: no
# database or page takes them all.
UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
MAX_LETTERS = 300  # of one text in a table or list
ADDRESS = re.compile(r"(?:https?://[^/\s]|/(?![/\\]))\S*")


def escape(text: str) -> str:
    """Return a user's text so that Markdown and HTML show it as it is, on one line."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", _showable(" ".join(text.split())))


def cut(text: str, letters: int = MAX_LETTERS) -> str:
    """Return a text on one line, its end left out if it is long; it is not escaped yet."""
    line = " ".join(text.split())
    return line if len(line) <= letters else f"{line[: letters - 3]}..."


def shown(text: str) -> str:
    """Return a user's text for a cell or a line: cut, escaped, and a dash for none."""
    return escape(cut(text)) or "-"


def code(text: str) -> str:
    """Return a text as code on one line, also for a cell of a table."""
    # Prefect's reader splits a table at a pipe even in code, and however it is escaped.
    line = _showable(" ".join(text.splitlines())) or " "
    return "`" + line.replace("`", "'").replace("|", "¦") + "`"


def fenced(text: str) -> str:
    """Return a text of many lines as a block that can be copied."""
    return f"```text\n{_showable(text).replace('```', '')}\n```"


def link(text: str, address: str) -> str:
    """Return a link; only the text if the address is neither of the web nor of this server."""
    if not ADDRESS.fullmatch(address) or UNSHOWABLE.search(address):
        return escape(text)
    # Prefect's reader shows a link's text with its backslashes: no more of them than must be.
    at_risk = r"([\\`\[\]<>&|*~]|(?<![^\W_])_|_(?![^\W_]))"
    words = re.sub(at_risk, r"\\\1", _showable(" ".join(text.split())))
    return f"[{words}]({quote(address, safe='/:?#@!$&*+,;=%~-._')})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the cells are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def section(title: str, lines: Sequence[str]) -> list[str]:
    """Return a heading and its lines, or nothing if there are none."""
    return [f"## {title}", "\n".join(lines)] if lines else []


def picture(title: str, uri: str, caption: str = "") -> str:
    """Return a picture under its heading; all three are our own words."""
    return f"## {title}\n\n![{title}]({uri})" + (f"\n\n{caption}" if caption else "")


def _showable(text: str) -> str:
    return UNSHOWABLE.sub("\ufffd", text)

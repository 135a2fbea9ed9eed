"""EnteroBase's barcodes: `SAL_AA0019AA_AS`, unique over all its databases."""

import re
from typing import Literal

from blocks.errors import InvalidRequest

Kind = Literal["AS", "TR", "ST", "AL", "LO", "SC", ""]
PATTERN = re.compile(r"[A-Z]{3}_[A-Z]{2}[0-9]{4}[A-Z]{2}(_(AS|TR|ST|AL|LO|SC))?")
PREFIX = re.compile(r"[A-Z]{3}")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
IN_FOUR_DIGITS = 10_000


def barcode(prefix: str, number: int, kind: Kind) -> str:
    """Return the barcode of a row: its database, its id and its table; strains have no table.

    The four digits count first, then the letters from left to right: 1 is AA0001AA, 10,000 is
    BA0000AA.

    Raises:
        InvalidRequest: the prefix is not three capital letters, or no barcode is left.
    """
    if not PREFIX.fullmatch(prefix):
        msg = f"a database's prefix is three capital letters like SAL, not {prefix!r}"
        raise InvalidRequest(msg)
    rest, digits = divmod(number, IN_FOUR_DIGITS)
    letters = ""
    for _ in range(4):
        rest, letter = divmod(rest, len(LETTERS))
        letters += LETTERS[letter]
    if rest:
        msg = f"the number {number} is outside of a database's barcodes"
        raise InvalidRequest(msg)
    middle = f"{letters[:2]}{digits:04d}{letters[2:]}"
    return "_".join(filter(None, (prefix, middle, kind)))


def require_barcode(text: str, kind: Kind) -> str:
    """Return a barcode of this kind as it is.

    Raises:
        InvalidRequest: it is none.
    """
    if not PATTERN.fullmatch(text) or (kind and not text.endswith(f"_{kind}")):
        msg = f"{text!r} is not a barcode like SAL_AA0019AA{f'_{kind}' if kind else ''}"
        raise InvalidRequest(msg)
    return text

"""What identifies an allele and a profile, whatever number it has."""

import hashlib
from collections.abc import Sequence
from uuid import UUID


def allele_key(sequence: bytes) -> UUID:
    """Return the MD5 of an allele's upper-case coding strand, as EnteroBase's UUID key."""
    return UUID(bytes=hashlib.md5(sequence, usedforsecurity=False).digest())


def profile_key(numbers: Sequence[int]) -> UUID:
    """Return the MD5 of a profile: allele numbers in the scheme's order, with commas."""
    text = ",".join(str(number) for number in numbers)
    return UUID(bytes=hashlib.md5(text.encode(), usedforsecurity=False).digest())

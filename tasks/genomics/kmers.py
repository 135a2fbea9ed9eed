"""Words of 16 bases, hashed; the cheap part of finding alleles.

A word fits 32 bits. Its hash is a bijection, so a hash stands for its word; words with a small
hash are an even sample of any sequence, the same in every genome that has the sequence.
"""

import numpy as np
from numpy.typing import NDArray

K = 16
WORD_BITS = 32
CHUNK = 1 << 16  # bases at a time: what numpy writes stays in the processor's cache

Hashes = NDArray[np.uint32]
Positions = NDArray[np.int64]

CODES = bytes(max(b"ACGT".find(letter), 0) for letter in range(256))
SALT = np.uint32(0x5BD1E995)  # without it the word AAAA... would have the smallest hash
FACTOR = np.uint32(0x9E3779B1)


def word_hashes(sequence: bytes) -> Hashes:
    """Return the hash of the word that begins at each base but the last 15.

    A letter other than A, C, G and T counts as an A: such words must not be trusted, only looked
    up and then compared.
    """
    codes = np.frombuffer(sequence.translate(CODES), dtype=np.uint8).astype(np.uint32)
    return _hash(_words(codes))


def small_hashes(sequence: bytes, limit: int) -> tuple[Positions, Hashes]:
    """Return position and hash of every word whose hash is at most `limit`, in order."""
    codes = np.frombuffer(sequence.translate(CODES), dtype=np.uint8)
    positions, hashes = list[Positions](), list[Hashes]()
    for start in range(0, max(len(codes) - K + 1, 0), CHUNK):
        chunk = codes[start : start + CHUNK + K - 1].astype(np.uint32)
        values = _hash(_words(chunk))
        chosen = np.flatnonzero(values <= np.uint32(limit))
        positions.append(chosen + start)
        hashes.append(values[chosen])
    if not positions:
        return np.empty(0, np.int64), np.empty(0, np.uint32)
    return np.concatenate(positions), np.concatenate(hashes)


def _words(codes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Join bases to words of 2, 4, 8 and 16 bases; the first base is in the highest bits."""
    words, length = codes, 1
    while length < K:
        shifted = words[:-length] << np.uint32(2 * length)
        shifted |= words[length:]
        words, length = shifted, 2 * length
    return words


def _hash(words: NDArray[np.uint32]) -> Hashes:
    words ^= SALT
    words *= FACTOR
    return words

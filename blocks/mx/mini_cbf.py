"""Write the mini-CBF images of PILATUS detectors, and name them from a template.

Format: Bernstein & Hammersley, International Tables G 2.3 (byte-offset compression) and the
PILATUS CBF header specification 1.4 of Dectris.
"""

import base64
import hashlib
import re

import numpy as np
from numpy.typing import NDArray


def image_name(template: str, number: int) -> str:
    """Return the file name of image `number`: the run of # in the template, filled with zeros.

    Raises:
        ValueError: the template has not exactly one run of #, or the number does not fit it.
    """
    runs = re.findall("#+", template)
    if len(runs) != 1 or "/" in template:
        raise ValueError(f"template {template!r} must be a file name with one run of #")
    if number < 1 or len(str(number)) > len(runs[0]):
        raise ValueError(f"image number {number} does not fit the template {template!r}")
    return template.replace(runs[0], f"{number:0{len(runs[0])}d}")


def byte_offset(values: NDArray[np.int32]) -> bytes:
    """Compress an image by CBF's byte-offset scheme.

    Each pixel is stored as the difference to the one before: one byte, or the mark -128 and two
    bytes, or both marks and four bytes. Differences beyond 32 bits do not occur in counts.
    """
    deltas = np.diff(values.ravel().astype(np.int64), prepend=0)
    size = np.abs(deltas)
    small, large = size < 2**7, size >= 2**15
    medium = ~(small | large)
    length = np.where(small, 1, np.where(large, 7, 3))
    start = np.cumsum(length) - length
    packed = np.zeros(int(length.sum()), dtype=np.uint8)
    packed[start] = np.where(small, deltas, -(2**7)) & 0xFF
    _place(packed, start[medium] + 1, deltas[medium], 2)
    _place(packed, start[large] + 1, np.full_like(deltas[large], -(2**15)), 2)
    _place(packed, start[large] + 3, deltas[large], 4)
    return packed.tobytes()


def _place(
    packed: NDArray[np.uint8], at: NDArray[np.int64], values: NDArray[np.int64], n_bytes: int
) -> None:
    for k in range(n_bytes):
        packed[at + k] = (values >> 8 * k) & 0xFF


def mini_cbf(name: str, header: str, image: NDArray[np.int32]) -> bytes:
    """Return the bytes of a mini-CBF file; lines end in CR LF, as CBFlib writes them.

    Args:
        name: of the data block; what CIF does not allow in a name becomes an underscore.
        header: lines in the PILATUS 1.2 convention, each begins with "# " and ends in LF.
        image: counts (slow, fast).
    """
    packed = byte_offset(image)
    digest = base64.b64encode(hashlib.md5(packed, usedforsecurity=False).digest()).decode()
    text = f"""\
###CBF: VERSION 1.5, limsflow

data_{re.sub("[^A-Za-z0-9_]", "_", name)}

_array_data.header_convention "PILATUS_1.2"
_array_data.header_contents
;
{header};

_array_data.data
;
--CIF-BINARY-FORMAT-SECTION--
Content-Type: application/octet-stream;
     conversions="x-CBF_BYTE_OFFSET"
Content-Transfer-Encoding: BINARY
X-Binary-Size: {len(packed)}
X-Binary-ID: 1
X-Binary-Element-Type: "signed 32-bit integer"
X-Binary-Element-Byte-Order: LITTLE_ENDIAN
Content-MD5: {digest}
X-Binary-Number-of-Elements: {image.size}
X-Binary-Size-Fastest-Dimension: {image.shape[1]}
X-Binary-Size-Second-Dimension: {image.shape[0]}
X-Binary-Size-Padding: 1

"""
    end = b"\0\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n"
    return text.replace("\n", "\r\n").encode("ascii") + b"\x0c\x1a\x04\xd5" + packed + end

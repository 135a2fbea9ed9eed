import bz2
import gzip
import io
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.errors import DataError, FileNotYetVisible, InconsistentInput
from blocks.genomics.fastq import FIRST_READS, append_gzip, check_pair, pieces

GENOMES = Path(__file__).parents[4] / "shared" / "data" / "genomics"
MORE = FIRST_READS + 500


def records(
    mate: int,
    *,
    reads: int = 30,
    name: str = "M0:1:FC:1:1101:{n}:7 {mate}:N:0:ACGT",
    quality: str = "F",
    end: str = "\n",
) -> list[str]:
    """Return the records of one file of a run."""
    dice = random.Random(mate)  # noqa: S311
    return [
        end.join(
            (
                "@" + name.format(n=n, mate=mate),
                "".join(dice.choices("ACGTN", k=20 + n % 3)),
                "+",
                quality * (20 + n % 3),
                "",
            )
        )
        for n in range(reads)
    ]


def write(path: Path, content: list[str] | bytes, pack: Callable[[bytes], bytes] = bytes) -> Path:
    whole = content if isinstance(content, bytes) else "".join(content).encode("latin-1")
    path.write_bytes(pack(whole))
    return path


def a_pair(place: Path, first: list[str] | bytes, second: list[str] | bytes) -> tuple[Path, Path]:
    return write(place / "a_1.fastq", first), write(place / "a_2.fastq", second)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
@pytest.mark.parametrize("reads", [1, 30, MORE])
def test_pairs_are_counted_in_every_packing(
    tmp_path: Path, pack: Callable[[bytes], bytes], reads: int
) -> None:
    # The names lie: how a file is packed is told by its first bytes.
    first = write(tmp_path / "a_1.fastq.gz", records(1, reads=reads), pack)
    second = write(tmp_path / "a_2.txt", records(2, reads=reads))

    assert check_pair(first, second) == reads


@pytest.mark.parametrize(
    "name",
    [
        "M0:1:FC:1:1101:{n}:7 {mate}:N:0:ACGT",
        "M0:1:FC:1:1101:{n}:7\t{mate}:Y:0:1",
        "old{n}/{mate}",
        "old{n}/{mate} comment",
        "SRR1234567.{n} {n} length=20",
        "SRR1234567.{n} HWI:{n}/{mate}",
        "same{n}",
    ],
)
def test_mates_are_known_by_every_usual_way_to_name_them(tmp_path: Path, name: str) -> None:
    pair = a_pair(tmp_path, records(1, name=name), records(2, name=name))

    assert check_pair(*pair) == 30


def test_files_that_were_given_in_the_other_order_do_no_harm(tmp_path: Path) -> None:
    first, second = a_pair(tmp_path, records(1), records(2))

    assert check_pair(second, first) == 30


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    first = "".join(records(1)).rstrip("\n").encode()
    second = "".join(records(2)).encode() + b"\n"

    assert check_pair(*a_pair(tmp_path, first, second)) == 30


def test_reads_that_were_trimmed_to_nothing_are_reads(tmp_path: Path) -> None:
    first = [*records(1), "@last\n\n+\n\n"]

    assert check_pair(*a_pair(tmp_path, first, [*records(2), "@last\nA\n+\nF"])) == 31


def test_a_gzip_file_of_many_members_is_one_file(tmp_path: Path) -> None:
    members = b"".join(gzip.compress(one.encode()) for one in records(1))

    assert check_pair(*a_pair(tmp_path, members, records(2))) == 30


def test_only_the_first_reads_are_looked_at_if_that_is_enough(tmp_path: Path) -> None:
    first, second = a_pair(tmp_path, records(1, reads=MORE), records(2, reads=MORE)[:-1])

    assert check_pair(first, second, whole=False) == FIRST_READS
    with pytest.raises(
        InconsistentInput, match=r"a_2\.fastq has 1,499 reads, a_1\.fastq has 1,500"
    ):
        check_pair(first, second)


def test_the_file_that_has_fewer_reads_is_named(tmp_path: Path) -> None:
    pair = a_pair(tmp_path, records(1)[:-3], records(2))

    with pytest.raises(InconsistentInput, match=r"a_1\.fastq has 27 reads, a_2\.fastq has 30"):
        check_pair(*pair)


@pytest.mark.parametrize("number", [0, 7, 29, MORE - 1])
def test_the_first_pair_whose_names_differ_is_told(tmp_path: Path, number: int) -> None:
    first, second = records(1, reads=MORE), records(2, reads=MORE)
    second[number] = second[number].replace("M0", "M1", 1)

    with pytest.raises(InconsistentInput, match=f"^read {number + 1:,} is 'M0:1.* but 'M1:1"):
        check_pair(*a_pair(tmp_path, first, second))


@pytest.mark.parametrize("name", ["x{n}/1", "x{n} 1:N:0:1"])
def test_reads_1_given_twice_are_found_by_their_names(tmp_path: Path, name: str) -> None:
    pair = a_pair(tmp_path, records(1, name=name), records(2, name=name))

    with pytest.raises(InconsistentInput, match="both have reads 1 of their pairs"):
        check_pair(*pair)


def test_one_file_given_twice_is_found_by_its_sequences(tmp_path: Path) -> None:
    name = "SRR1234567.{n}"
    pair = a_pair(tmp_path, records(1, name=name), records(1, name=name))

    with pytest.raises(InconsistentInput, match="one file was given twice"):
        check_pair(*pair)


BAD = {
    "no read": ("", "a_1.fastq is empty: there is no read in it"),
    "blank lines": ("\n\n", "a_1.fastq is empty"),
    "many blank lines": ("\n" * 9, "read 1 begins with '', not with '@'"),
    "FASTA": (">contig\nACGT\nACGT\nACGT\n", "read 1 begins with '>contig', not with '@'"),
    "binary": ("\x00\xff\n" * 8, "not with '@' and a name: the file is not FASTQ"),
    "HTML": ("<html>\n", "read 1 is cut short"),
    "no name": ("@\nA\n+\nF\n", "read 1 has no name"),
    "no plus": ("@x\nA\nF\n@y\n", "read 1 has 'F' where '\\+' must be"),
    "wrapped": ("@x\nAC\nGT\n+\nFF\nFF\n@y\nA\n", "read 1 has 'GT' where '\\+' must be"),
    "few qualities": ("@x\nAC\n+\nF\n", r"read 1 \('@x'\) has not as many qualities as bases"),
    "cut in a quality": ("@x\nAC\n+\nFF\n@y\nAC\n+\nF", r"read 2 \('@y'\) has not as many"),
    "cut in a read": ("@x\nAC\n+\nFF\n@y\nA", "read 2 is cut short"),
    "cut after a name": ("@x\nAC\n+\nFF\n@y\n", "read 2 is cut short"),
    "protein": ("@x\nAC\n+\nFF\n@y\nAL\n+\nFF\n", "read 2 has 'L' in its sequence: not DNA"),
    "space": ("@x\nA C\n+\nFFF\n", "has ' ' in its sequence"),
    "quality below": ("@x\nAC\n+\nF \n", "has the quality 32: not Phred\\+33"),
    "quality above": ("@x\nAC\n+\nF\xf0\n", "has the quality 240: not Phred\\+33"),
    "Phred+64": ("@x\nACGT\n+\nBDgh\n", "qualities from B to h: Phred\\+64"),
    "Solexa": ("@x\nACGT\n+\n;;Zh\n", "Phred\\+64"),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: str, words: str) -> None:
    pair = a_pair(tmp_path, [content], records(2))

    with pytest.raises(InconsistentInput, match=words):
        check_pair(*pair)
    with pytest.raises(InconsistentInput, match=re.escape("a_1.fastq")):
        check_pair(*reversed(pair))


def test_windows_line_ends_are_said(tmp_path: Path) -> None:
    pair = a_pair(tmp_path, records(1, end="\r\n"), records(2))

    with pytest.raises(InconsistentInput, match="read 1 has Windows line ends"):
        check_pair(*pair)


@pytest.mark.parametrize("quality", ["#", "F", "I", "N"])
def test_reads_of_one_quality_are_not_taken_for_phred_64(tmp_path: Path, quality: str) -> None:
    pair = a_pair(tmp_path, records(1, quality=quality), records(2, quality=quality))

    assert check_pair(*pair) == 30


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
@pytest.mark.parametrize("deed", ["cut", "changed", "changed early"])
def test_a_damaged_file_is_named(tmp_path: Path, pack: Callable[[bytes], bytes], deed: str) -> None:
    content = pack("".join(records(1, reads=2000)).encode())
    half = len(content) // 2
    damage = {
        "cut": content[:half],
        "changed early": content[:20] + b"\xff" * 50 + content[70:],
        "changed": content[:half] + bytes(50) + content[half + 50 :],
    }
    pair = a_pair(tmp_path, damage[deed], records(2, reads=2000))

    with pytest.raises(InconsistentInput, match=r"a_1\.fastq is damaged or cut short"):
        check_pair(*pair)


def test_what_follows_a_gzip_file_is_damage(tmp_path: Path) -> None:
    content = gzip.compress("".join(records(1)).encode()) + b"no more"

    with pytest.raises(InconsistentInput, match=r"a_1\.fastq is damaged"):
        check_pair(*a_pair(tmp_path, content, records(2)))


def test_a_small_file_that_unpacks_to_a_full_disk_is_stopped(tmp_path: Path) -> None:
    bombs = [
        gzip.compress(f"@x\n{letter * 1000}\n+\n{'F' * 1000}\n".encode() * 20_000, 1)
        for letter in "AC"
    ]
    pair = a_pair(tmp_path, bombs[0], bombs[1])

    with pytest.raises(InconsistentInput, match="more than 10,000,000 bytes unpacked"):
        check_pair(*pair, max_bytes=10_000_000)


@pytest.mark.parametrize("content", [bytes(40_000_000), b"@x\n" + b"A" * 40_000_000])
def test_a_line_without_an_end_is_not_read_into_memory(tmp_path: Path, content: bytes) -> None:
    pair = a_pair(tmp_path, gzip.compress(content, 1), records(2))

    with pytest.raises(
        InconsistentInput, match="read 1 is not a FASTQ record: a line does not end"
    ):
        check_pair(*pair)


def test_a_file_that_is_not_there_may_come(tmp_path: Path) -> None:
    there = write(tmp_path / "a_2.fastq", records(2))

    with pytest.raises(FileNotYetVisible, match=r"a_1\.fastq is not on this disk"):
        check_pair(tmp_path / "a_1.fastq", there)


def test_what_is_not_a_file_is_not_waited_for(tmp_path: Path) -> None:
    there = write(tmp_path / "a_2.fastq", records(2))
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InconsistentInput, match="is not a file"):
            check_pair(there, path)


@settings(max_examples=200, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=200), st.text("@+\nACGTF!", max_size=80).map(str.encode))
)
def test_any_content_is_pairs_or_a_clear_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    place = tmp_path_factory.getbasetemp()
    pair = a_pair(place, content, records(2))

    refusal, number = "", 30
    try:
        number = check_pair(*pair)
    except DataError as error:
        refusal = str(error)

    assert "a_1.fastq" in refusal or not refusal
    assert number == 30


def test_a_file_comes_in_pieces(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gz", bytes(3_000_000), gzip.compress)

    found = list(pieces(path))

    assert b"".join(found) == bytes(3_000_000)
    assert max(map(len, found)) <= 1 << 20


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_files_are_appended_as_gzip(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    content = "".join(records(1)).encode()
    path = write(tmp_path / "a", content, pack)
    whole = io.BytesIO()

    append_gzip(path, whole)
    append_gzip(path, whole)

    assert gzip.decompress(whole.getvalue()) == content * 2
    if pack is gzip.compress:
        assert whole.getvalue() == path.read_bytes() * 2


@pytest.mark.skipif(not GENOMES.exists(), reason="the real reads are not in this checkout")
@pytest.mark.parametrize(
    ("name", "number"),
    [("reads_eto/S_R{}.fastq.gz", 11_001), ("reads_assembly/shovill_R{}.fq.gz", 50_000)],
)
def test_sets_that_others_publish_are_pairs(name: str, number: int) -> None:
    assert check_pair(*(GENOMES / name.format(mate) for mate in (1, 2))) == number

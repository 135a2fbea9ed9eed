"""Assemblies as files: what people and programs write, and what must not pass for one."""

import gzip
import os
import threading
from pathlib import Path

import pytest

from blocks.errors import FileNotYetVisible, InconsistentInput
from blocks.genomics.genome import MAX_BYTES, Genome, genome_of, parse_genome, read_genome

A_FASTA = b">one first contig\nACGTAC\nGT\n>two\nTTTT\n"
A_FASTQ = b"@one\nACGTACGT\n+\nIIIIIII+\n@two\nTTTT\n+two\n@@@@\n"


def a_file(place: Path, content: bytes, name: str = "a.fasta") -> Path:
    path = place / name
    path.write_bytes(content)
    return path


def contigs(genome: Genome) -> dict[str, bytes]:
    return {name: genome.contig_sequence(at) for at, name in enumerate(genome.contigs)}


BOTH = {"one": b"ACGTACGT", "two": b"TTTT"}


@pytest.mark.parametrize(
    "content",
    [
        A_FASTA,
        A_FASTA.replace(b"\n", b"\r\n"),
        A_FASTA.removesuffix(b"\n"),
        A_FASTA.lower(),
        b"\xef\xbb\xbf" + A_FASTA,
        b"\n \r\n" + A_FASTA,
        b">one\nAC GT\tAC\n\nGT\n\n>two\nTT-TT*\n\n",
        gzip.compress(A_FASTA),
        gzip.compress(A_FASTA[:20]) + gzip.compress(A_FASTA[20:]),
    ],
)
def test_fasta_is_read_however_it_is_written(tmp_path: Path, content: bytes) -> None:
    genome = read_genome(a_file(tmp_path, content))

    assert contigs(genome) == BOTH
    assert genome.quality is None
    assert genome.name == "a.fasta"


@pytest.mark.parametrize(
    "content",
    [
        A_FASTQ,
        A_FASTQ.replace(b"\n", b"\r\n"),
        A_FASTQ.removesuffix(b"\n"),
        A_FASTQ.replace(b"ACGTACGT", b"acgtacgt"),
        A_FASTQ.replace(b"ACGTACGT", b"ACGT\nACGT").replace(b"IIIIIII+", b"IIII\nIII+"),
        A_FASTQ.replace(b"@two", b"\n\n@two"),
        gzip.compress(A_FASTQ),
    ],
)
def test_fastq_is_read_with_the_quality_of_every_base(tmp_path: Path, content: bytes) -> None:
    genome = read_genome(a_file(tmp_path, content, "a.fastq"))

    assert contigs(genome) == BOTH
    qualities = [genome.contig_quality(at) for at in range(2)]
    assert [None if one is None else one.tolist() for one in qualities] == [
        [40, 40, 40, 40, 40, 40, 40, 10],
        [31, 31, 31, 31],
    ]


def test_the_content_tells_the_format_not_the_files_name(tmp_path: Path) -> None:
    genome = read_genome(a_file(tmp_path, gzip.compress(A_FASTQ), "a.fasta"))

    assert genome.quality is not None


def test_letters_that_stand_for_several_bases_are_kept(tmp_path: Path) -> None:
    genome = read_genome(a_file(tmp_path, b">a\nacgtnrykmswbdhv\n"))

    assert genome.sequence == b"ACGTNRYKMSWBDHV"
    assert genome.cut(0, 6, "-") == b"YNACGT"


def test_no_sequence_reaches_from_one_contig_into_the_next(tmp_path: Path) -> None:
    genome = read_genome(a_file(tmp_path, A_FASTA))

    assert genome.sequence == b"ACGTACGTNTTTT"
    assert [genome.contig_at(position) for position in (0, 7, 9, 12)] == [0, 0, 1, 1]


def test_a_contig_without_bases_is_a_contig_as_long_as_another_has_some(tmp_path: Path) -> None:
    genome = read_genome(a_file(tmp_path, b">none\n>two\nTTTT\n"))

    assert contigs(genome) == {"none": b"", "two": b"TTTT"}
    assert genome.contig_at(genome.sequence.index(b"T")) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"a\.fasta is empty"),
        (b" \n\n", r"a\.fasta is empty"),
        (gzip.compress(b""), r"a\.fasta is empty"),
        (b"PK\x03\x04 a word processor's", "is neither FASTA nor FASTQ: it begins with b'PK"),
        (b"ACGTACGT\n", "is neither FASTA nor FASTQ"),
        (b">one\n>two\n", "has no sequence"),
        (b">\nACGT\n", "has a contig without a name"),
        (b"> \t\nACGT\n", "has a contig without a name"),
        (b">one\nACGT\n>one again\nTTTT\n", "has two contigs named 'one'"),
        (b">sp|P0A7B8|HSLV\nMTTIVSVRRNGHVVIAGDGQ\n", "has the letter 'I' in a sequence: not DNA"),
        (b">one\nACGT\x00ACGT\n", r"has the letter '\\x00' in a sequence: not DNA"),
        (b">one\nACGT@\n", "has the letter '@' in a sequence: not DNA"),
        (gzip.compress(A_FASTA)[:-9], r"a\.fasta is a damaged gzip file"),
        (gzip.compress(A_FASTA)[:12], r"a\.fasta is a damaged gzip file"),
        (gzip.compress(A_FASTA)[:15] + b"?????" + gzip.compress(A_FASTA)[20:], "damaged gzip file"),
        (gzip.compress(A_FASTA) + b"more", r"a\.fasta is a damaged gzip file"),
    ],
)
def test_a_file_that_is_no_assembly_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    with pytest.raises(InconsistentInput, match=reason):
        read_genome(a_file(tmp_path, content))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"@one\nACGT\n+\nIII\n", "the FASTQ record '@one' is damaged or cut short"),
        (b"@one\nACGT\n+\nIIIII\n", "the FASTQ record '@one' is damaged or cut short"),
        (b"@one\nACGT\n+\n", "the FASTQ record '@one' is damaged or cut short"),
        (b"@one\nACGT\n", "the FASTQ record '@one' is damaged or cut short"),
        (b"@one\nACGT\n+\nIIII\n>two\nACGT\n", "the FASTQ record '>two' is damaged"),
        (b"@one\nACGT\n+\nII\x1f\x07\n", "the qualities of '@one' are not Phred"),
        (b"@one\nACGT\n+\nII\x7f\xff\n", "the qualities of '@one' are not Phred"),
        (b"@one\nMEEP\n+\nIIII\n", "has the letter 'E' in a sequence: not DNA"),
        (b"@\nACGT\n+\nIIII\n", "has a contig without a name"),
    ],
)
def test_a_damaged_fastq_record_is_named(tmp_path: Path, record: bytes, reason: str) -> None:
    with pytest.raises(InconsistentInput, match=reason):
        read_genome(a_file(tmp_path, record))


def test_a_file_that_is_not_there_may_come_later(tmp_path: Path) -> None:
    with pytest.raises(FileNotYetVisible, match=r"nowhere\.fasta is not on this disk"):
        read_genome(tmp_path / "nowhere.fasta")


def test_a_disk_that_fails_may_come_back() -> None:
    # Linux answers the first byte of a process' memory with EIO, as it does for a share that hangs.
    with pytest.raises(FileNotYetVisible, match="cannot be read: Input/output error"):
        read_genome(Path("/proc/self/mem"))


@pytest.mark.parametrize("name", [".", "a\0b"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InconsistentInput, match="cannot be read"):
        read_genome(tmp_path / name)


def test_a_gzip_bomb_is_put_out_before_the_memory_is_full(tmp_path: Path) -> None:
    a_megabyte = gzip.compress(b"A" * 1_000_000)
    bomb = gzip.compress(b">a\n") + a_megabyte * (MAX_BYTES // 1_000_000 + 1)

    with pytest.raises(InconsistentInput, match="is larger than 400 MB: not a bacterial assembly"):
        read_genome(a_file(tmp_path, bomb))


def test_a_device_without_an_end_is_read_no_further_than_an_assembly_goes() -> None:
    with pytest.raises(InconsistentInput, match="is larger than 400 MB"):
        read_genome(Path("/dev/zero"))


def test_a_pipe_is_read_once_although_it_is_packed(tmp_path: Path) -> None:
    pipe = tmp_path / "a.fasta.gz"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(gzip.compress(A_FASTA)))
    writer.start()
    genome = read_genome(pipe)
    writer.join(10)

    assert contigs(genome) == BOTH


def test_many_contigs_with_a_name_that_comes_twice_are_refused_at_once() -> None:
    records = ((f"contig_{n % 99_999}", b"A", None) for n in range(100_000))

    with pytest.raises(InconsistentInput, match="two contigs named 'contig_0'"):
        genome_of("many", records)


def test_pasted_text_is_called_by_the_name_that_it_is_given() -> None:
    with pytest.raises(InconsistentInput, match=r"^my search\.fasta is neither FASTA nor FASTQ"):
        parse_genome(b"hello", Path("my search.fasta"))

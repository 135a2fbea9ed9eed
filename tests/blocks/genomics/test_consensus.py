"""Correcting a draft by its pileup: which calls count, which bases are trusted, what is kept."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest

from blocks.errors import InconsistentInput, InvalidRequest, OutputInvalid
from blocks.genomics.consensus import (
    Changes,
    Consensus,
    PolishedContig,
    Row,
    average_depth,
    chosen,
    polish,
    polished_contig,
)
from blocks.genomics.genome import read_genome
from tests.fakes.reads import random_sequence, write_fasta

DRAFT = b"ACGTA"


def rows(*changed: tuple[int, int, int, bytes, int], depth: int = 20) -> list[Row]:
    """Return a pileup that agrees with the draft, 20 reads of quality 90, but for some rows.

    Args:
        changed: Position, nth inserted base, depth, call, quality.
        depth: Of the other rows.
    """
    usual = {(p, 0): (b"c", p, 0, depth, DRAFT[p : p + 1], 90) for p in range(len(DRAFT))}
    return list((usual | {row[:2]: (b"c", *row) for row in changed}).values())


def in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row[1:3])


def polished(*changed: tuple[int, int, int, bytes, int]) -> tuple[bytes, list[int], Changes]:
    contig = polished_contig(DRAFT, in_order(rows(*changed)))
    return contig.sequence, list(contig.quality), contig.changes


def a_pileup(path: Path, depths: dict[str, tuple[bytes, int]]) -> Path:
    """Write what samtools writes of contigs that their reads agree with."""
    lines = [
        b"%s\t%d\t0\t%d\t%c\t60\t%s\t%s\n" % (name.encode(), n, depth, base, b"A" * 9, b"I" * 9)
        for name, (sequence, depth) in depths.items()
        for n, base in enumerate(sequence, 1)
    ]
    path.write_bytes(b"".join(lines))
    return path


def a_consensus(
    directory: Path, contigs: dict[str, tuple[bytes, int]], *, stem: str = "SRR1"
) -> Consensus:
    draft = write_fasta(directory / "draft.fasta", {n: s for n, (s, _) in contigs.items()})
    pileup = a_pileup(directory / "pileup.tsv", contigs)
    return polish(draft, pileup, directory=directory, stem=stem)


def test_a_base_that_the_reads_agree_with_has_the_highest_quality() -> None:
    assert polished() == (DRAFT, [40] * 5, Changes())


@pytest.mark.parametrize(
    ("row", "sequence", "changes"),
    [
        ((1, 0, 20, b"T", 50), b"ATGTA", Changes(substituted=1)),
        ((1, 0, 20, b"*", 50), b"AGTA", Changes(deleted=1)),
        ((1, 1, 20, b"T", 50), b"ACTGTA", Changes(inserted=1)),
        ((4, 1, 20, b"T", 50), b"ACGTAT", Changes(inserted=1)),
        ((1, 1, 20, b"*", 50), DRAFT, Changes()),
    ],
)
def test_what_the_reads_clearly_say_is_taken(
    row: tuple[int, int, int, bytes, int], sequence: bytes, changes: Changes
) -> None:
    made, quality, counted = polished(row)

    assert (made, counted) == (sequence, changes)
    assert quality == [40] * len(sequence)


def test_two_inserted_bases_stay_in_their_order() -> None:
    made = polished((1, 1, 20, b"T", 50), (1, 2, 20, b"G", 15), (3, 0, 20, b"*", 60))

    assert made == (b"ACTGGA", [40, 40, 40, 15, 40, 40], Changes(inserted=2, deleted=1))


@pytest.mark.parametrize("call", [b"T", b"*"])
@pytest.mark.parametrize(("depth", "quality", "left"), [(20, 9, 9), (20, 3, 3), (2, 60, 9)])
def test_a_doubtful_change_is_not_made_and_its_base_not_trusted(
    call: bytes, depth: int, quality: int, left: int
) -> None:
    assert polished((1, 0, depth, call, quality)) == (DRAFT, [40, left, 40, 40, 40], Changes())


@pytest.mark.parametrize("call", [b"T", b"*"])
def test_a_doubtful_insertion_makes_the_base_before_it_doubtful(call: bytes) -> None:
    assert polished((1, 1, 20, call, 4)) == (DRAFT, [40, 4, 40, 40, 40], Changes())


def test_a_doubtful_insertion_does_not_make_a_poor_base_better() -> None:
    made = polished((1, 0, 20, b"C", 2), (1, 1, 20, b"*", 4))

    assert made == (DRAFT, [40, 2, 40, 40, 40], Changes())


@pytest.mark.parametrize(("depth", "quality"), [(1, 9), (2, 9), (3, 40)])
def test_a_base_needs_three_reads_to_be_trusted(depth: int, quality: int) -> None:
    assert polished((2, 0, depth, b"G", 60))[1][2] == quality


def test_a_base_without_reads_stays_with_quality_zero() -> None:
    contig = polished_contig(DRAFT, rows()[1:3])

    assert (contig.sequence, list(contig.quality)) == (DRAFT, [0, 40, 40, 0, 0])
    assert contig.depth == pytest.approx(2 * 20 / 5)


def test_inserted_bases_do_not_count_twice_in_the_depth() -> None:
    contig = polished_contig(DRAFT, in_order(rows((1, 1, 20, b"T", 50))))

    assert contig.depth == 20


def a_contig(length: int, depth: float, letter: bytes = b"A") -> PolishedContig:
    return PolishedContig(letter * length, bytes(length), depth)


def test_the_average_depth_is_that_of_the_longest_contigs() -> None:
    contigs = [a_contig(400, 900.0), a_contig(5000, 50.0), a_contig(1000, 1.0)]

    assert average_depth(contigs) == 50


def test_contigs_that_are_shallow_or_short_are_left_out() -> None:
    deep, limit = a_contig(5000, 50.0), a_contig(200, 10.0)
    contigs = [limit, a_contig(199, 50.0), deep, a_contig(3000, 9.9)]

    assert chosen(contigs, 50.0) == [deep, limit]


def test_a_contig_that_no_read_covers_is_left_out_whatever_the_average() -> None:
    assert chosen([a_contig(5000, 0.0)], 0.0) == []


def test_contigs_of_equal_length_have_one_order_however_the_assembler_wrote_them() -> None:
    one, two = a_contig(300, 9.0, b"C"), a_contig(300, 9.0, b"G")

    assert chosen([two, one], 9.0) == chosen([one, two], 9.0)


def test_contigs_are_written_from_the_longest_to_the_shortest(tmp_path: Path) -> None:
    short, long = random_sequence(300, seed=1), random_sequence(900, seed=2)

    made = a_consensus(tmp_path, {"k141_7": (short, 12), "k141_9": (long, 30)})

    lines = gzip.decompress(made.fasta.read_bytes()).split(b"\n")
    assert lines[0] == b">contig_1 length=900 depth=30.0"
    assert [line for line in lines if line.startswith(b">")][1] == (
        b">contig_2 length=300 depth=12.0"
    )
    assert made.mean_depth == 30
    fastq = read_genome(made.fastq)
    assert fastq.contigs == ("contig_1", "contig_2")
    assert [fastq.contig_sequence(n) for n in (0, 1)] == [long, short]
    assert fastq.contig_sequence(0) == read_genome(made.fasta).contig_sequence(0)


def test_the_same_contigs_give_the_same_bytes(tmp_path: Path) -> None:
    written = list[tuple[bytes, bytes]]()
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        made = a_consensus(tmp_path / place, {"c": (random_sequence(500, seed=3), 20)})
        written.append((made.fastq.read_bytes(), made.fasta.read_bytes()))

    assert written[0] == written[1]
    assert all(content[3:8] == bytes(5) for content in written[0])  # gzip's: no name, no time


def test_nothing_but_the_two_files_is_left(tmp_path: Path) -> None:
    made = a_consensus(tmp_path, {"c": (random_sequence(500, seed=3), 20)})

    assert {path.name for path in tmp_path.iterdir()} == {
        *("draft.fasta", "pileup.tsv"),
        *(made.fastq.name, made.fasta.name),
    }
    assert made.fastq.name == "SRR1.fastq.gz"


def test_an_assembly_without_any_covered_contig_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(OutputInvalid, match=r"no contig of 200 bases or more in draft.fasta"):
        a_consensus(tmp_path, {"c": (b"ACGT" * 40, 20)})


@pytest.mark.parametrize(
    "line",
    [
        b"other\t1\t0\t5\tA\t60\tAAAAA\tIIIII\n",
        b"c\t501\t0\t5\tA\t60\tAAAAA\tIIIII\n",
        b"c\tx\t0\t5\tA\t60\tAAAAA\tIIIII\n",
        b"c\t1\t0\t5\t\t60\tAAAAA\tIIIII\n",
        b"c 1 0\n",
        b"\xff\xfe",
    ],
)
def test_a_pileup_of_something_else_is_refused(tmp_path: Path, line: bytes) -> None:
    draft = write_fasta(tmp_path / "draft.fasta", {"c": b"ACGTA" * 100})
    (tmp_path / "pileup.tsv").write_bytes(line)

    with pytest.raises(OutputInvalid, match=r"pileup.tsv is no pileup of draft.fasta"):
        polish(draft, tmp_path / "pileup.tsv", directory=tmp_path, stem="SRR1")


def test_a_draft_that_is_no_fasta_is_refused(tmp_path: Path) -> None:
    (tmp_path / "draft.fasta").write_bytes(b"\x00")
    (tmp_path / "pileup.tsv").write_bytes(b"")

    with pytest.raises(InconsistentInput, match=r"draft.fasta is neither FASTA nor FASTQ"):
        polish(tmp_path / "draft.fasta", tmp_path / "pileup.tsv", directory=tmp_path, stem="SRR1")


@pytest.mark.parametrize("stem", ["../x", "a/b", "", "a\nb", ".."])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, stem: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be the name of a file"):
        a_consensus(tmp_path, {"c": (b"ACGTA" * 100, 20)}, stem=stem)

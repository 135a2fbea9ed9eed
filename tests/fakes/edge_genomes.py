"""Small genomes, each with one peculiarity at one locus, and what a caller must say of it.

They are built from any scheme of two loci or more. What is debatable follows EnteroBase: 0 for a
missing locus, a negative code for one in pieces or in several copies, with the limits of EToKi's
MLSType. Where those limits and the words of its documentation disagree, both are allowed, and a
comment says so.
"""

from collections.abc import Callable, Iterator, Mapping

from tests.fakes.edge_bench import (
    AMBIGUOUS,
    DUPLICATED,
    FRAGMENTED,
    MISSING,
    Alleles,
    Bench,
    Copy,
    EdgeGenome,
    complemented,
    in_state,
    novel,
)

ELEMENT_BP = 1300  # as long as an insertion sequence
SHARED_BP = 30
SHORT = b"ACGTTGCA"
Group = Callable[[Bench, str], Iterator[EdgeGenome]]


def edge_genomes(alleles: Alleles, carried: Mapping[str, int], seed: int = 300) -> list[EdgeGenome]:
    """Return the genomes for a scheme, whose isolate carries these allele numbers.

    The first locus is the edited one. Equal arguments give equal genomes.
    """
    groups: tuple[Group, ...] = (
        _known_alleles,
        _letter_cases,
        _new_alleles,
        _long_changes,
        _nothing,
        _pieces,
        _pieces_inside,
        _beside_a_copy,
        _copies,
        _other_letters,
        _ends_of_contigs,
        _nested_alleles,
        _neighbours,
        _relatives,
        _tiny_contigs,
    )
    bench = Bench(alleles, carried, seed)
    locus = next(iter(alleles))
    return [genome for group in groups for genome in group(bench, locus)]


def _known_alleles(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    for strand in ("+", "-"):
        copy = Copy(locus, bench.carried[locus], strand)
        yield bench.genome(
            f"a known allele on the {strand} strand",
            [bench.flank(), copy, bench.flank()],
            **{locus: bench.exact(locus)},
        )


def _letter_cases(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    def masked(sequence: bytes) -> bytes:
        return sequence[:90] + sequence[90:250].lower() + sequence[250:]

    flank, exact = bench.flank(), bench.exact(locus)
    lower = Copy(locus, bench.carried[locus], written=bytes.lower)
    yield bench.genome(
        "a known allele in lower case", [flank.lower(), lower, flank.lower()], **{locus: exact}
    )
    soft = Copy(locus, bench.carried[locus], written=masked)
    yield bench.genome(
        "a known allele, a part of it soft-masked", [flank, soft, flank[:500]], **{locus: exact}
    )
    new = bench.changed(locus, 2)
    copy = Copy(locus, new, "-", written=bytes.lower)
    yield bench.genome("a new allele in lower case", [flank, copy, flank], **{locus: novel(new)})


def _new_alleles(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    known = bench.carried[locus]
    middle = len(known) // 2
    first, last = _other(known[:1]), _other(known[-1:])
    changed = {
        "a new allele by one substitution": bench.changed(locus, 1),
        "a new allele by a substitution of its first base": first + known[1:],
        "a new allele by a substitution of its last base": known[:-1] + last,
        "a new allele by substitutions of both end bases": first + known[1:-1] + last,
        "a new allele by a deletion of three bases": known[:middle] + known[middle + 3 :],
        "a new allele by an insertion of three bases": known[:middle] + b"CAG" + known[middle:],
        "a new allele by a deletion of one base": known[:middle] + known[middle + 1 :],
        # 10 % is far inside EToKi's --min_iden of 0.65.
        "a new allele that differs at ten per cent": bench.changed(locus, len(known) // 10),
    }
    for sentence, sequence in changed.items():
        contig = [bench.flank(), Copy(locus, sequence, "-"), bench.flank()]
        yield bench.genome(sentence, contig, **{locus: novel(sequence)})


def _other(base: bytes) -> bytes:
    return base.translate(bytes.maketrans(b"ACGT", b"GTAC"))


def _long_changes(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    known = bench.carried[locus]
    middle = len(known) // 2
    for sentence, sequence in {
        "a new allele by a deletion of thirty bases": known[:middle] + known[middle + 30 :],
        "a new allele by an insertion of thirty bases": (
            known[:middle] + bench.flank(30) + known[middle:]
        ),
    }.items():
        contig = [bench.flank(), Copy(locus, sequence), bench.flank()]
        yield bench.genome(sentence, contig, **{locus: novel(sequence)})


def _nothing(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    yield bench.genome("a missing locus", [bench.flank()], **{locus: in_state(MISSING)})
    missing = {one: in_state(MISSING) for one in bench.alleles}
    yield bench.genome("a genome of another species", [bench.flank(5000)], **missing)


def _pieces(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    known = bench.carried[locus]
    broken = {locus: in_state(FRAGMENTED)}
    for percent in (60, 95):
        piece = known[: -(-len(known) * percent // 100)]
        yield bench.genome(
            f"{percent} per cent of a locus at a contig's end", [bench.flank(), piece], **broken
        )
    # EToKi leaves out what covers less than 0.6 of a locus, so 0; its documentation calls any
    # fragment negative.
    yield bench.genome(
        "20 per cent of a locus at a contig's end",
        [bench.flank(), known[: len(known) // 5]],
        **{locus: in_state(MISSING, FRAGMENTED)},
    )
    yield bench.genome(
        "all but the last base at a contig's end", [bench.flank(), known[:-1]], **broken
    )
    yield bench.genome(
        "all but the first base at a contig's start", [known[1:], bench.flank()], **broken
    )
    cut = len(known) * 7 // 10
    yield bench.genome(
        "a locus split over two contigs at 70 per cent",
        [bench.flank(), known[:cut]],
        [known[cut:], bench.flank()],
        **broken,
    )
    yield bench.genome(
        "a locus split over two contigs, one of them turned",
        [bench.flank(), known[:cut]],
        [bench.flank(), complemented(known[cut:])],
        **broken,
    )
    # As above: each half is less than 0.6.
    half = len(known) // 2
    yield bench.genome(
        "a locus split in halves that share 55 bases",
        [bench.flank(), known[: half + 28]],
        [known[half - 27 :], bench.flank()],
        **{locus: in_state(MISSING, FRAGMENTED)},
    )


def _pieces_inside(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    known = bench.carried[locus]
    cut = len(known) * 3 // 10
    yield bench.genome(
        "a locus interrupted at 30 per cent by an insertion sequence",
        [bench.flank(), known[:cut], bench.flank(ELEMENT_BP), known[cut:], bench.flank()],
        **{locus: in_state(FRAGMENTED)},
    )
    # EToKi does not join what is more than 300 bp apart, and each half is less than 0.6.
    half = len(known) // 2
    yield bench.genome(
        "a locus interrupted in its middle by an insertion sequence",
        [bench.flank(), known[:half], bench.flank(ELEMENT_BP), known[half:], bench.flank()],
        **{locus: in_state(MISSING, FRAGMENTED)},
    )
    yield bench.genome(
        "a locus that lost its last third inside a contig",
        [bench.flank(), known[: len(known) * 2 // 3], bench.flank()],
        **{locus: in_state(FRAGMENTED)},
    )


def _beside_a_copy(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    """What is not a second whole copy of about the same sequence does not disturb the first."""
    known, exact = bench.carried[locus], {locus: bench.exact(locus)}
    whole = [bench.flank(), Copy(locus, known), bench.flank()]
    yield bench.genome(
        "a known allele, and a piece of it at the end of another contig",
        whole,
        [bench.flank(), known[: len(known) * 7 // 10]],
        **exact,
    )
    yield bench.genome(
        "a known allele, and a relative of it that differs at twelve per cent",
        whole,
        [bench.flank(), bench.changed(locus, len(known) * 12 // 100), bench.flank()],
        **exact,
    )
    new = bench.changed(locus, 3)
    yield bench.genome(
        "a new allele, and a piece of it at the end of another contig",
        [bench.flank(), Copy(locus, new), bench.flank()],
        [bench.flank(), new[: len(new) * 7 // 10]],
        **{locus: novel(new)},
    )


def _copies(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    known = bench.carried[locus]
    other = next(sequence for _, sequence in bench.alleles[locus] if sequence != known)
    new, newer = bench.changed(locus, 2), bench.changed(locus, 3)
    repeat = bench.flank(300), bench.flank(400)
    twice = {locus: in_state(DUPLICATED)}
    for sentence, first, second in (
        ("two identical copies", known, known),
        ("two different known copies", known, other),
        ("a known and a new copy", known, new),
        ("two different new copies", new, newer),
        ("two identical new copies", new, new),
    ):
        contigs = [[bench.flank(), Copy(locus, one), bench.flank()] for one in (first, second)]
        yield bench.genome(f"{sentence} on two contigs", *contigs, **twice)
        turned = Copy(locus, second, "-")
        contig = [bench.flank(), Copy(locus, first), bench.flank(), turned, bench.flank()]
        yield bench.genome(f"{sentence} on one contig", contig, **twice)
    unit = [repeat[0], Copy(locus, known), repeat[1]]
    contig = [piece for _ in range(3) for piece in (bench.flank(), *unit)]
    yield bench.genome("an allele inside a repeat, three times", contig, **twice)
    contig = [bench.flank(), *[Copy(locus, known)] * 3, bench.flank()]
    yield bench.genome("three copies that touch each other", contig, **twice)


def _other_letters(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    known = bench.carried[locus]
    middle, end = len(known) // 2, len(known) * 7 // 10
    unclear, flank = {locus: in_state(AMBIGUOUS)}, bench.flank()
    for sentence, letters in (
        ("one N inside", b"N"),
        ("five N inside", b"NNNNN"),
        ("an R inside, as of a mixed culture", b"R"),
        ("lower-case n inside", b"nn"),
    ):
        written = known[:middle] + letters + known[middle + len(letters) :]
        yield bench.genome(sentence, [flank, written, bench.flank()], **unclear)
    # Whole by its length, in pieces by its letters: negative in both cases.
    either = {locus: in_state(FRAGMENTED, AMBIGUOUS)}
    for sentence, written in (
        ("N in place of the last 30 per cent", known[:end] + b"N" * (len(known) - end)),
        ("N in place of the last base", known[:-1] + b"N"),
        ("a gap of 100 N inside", known[:middle] + b"N" * 100 + known[middle + 100 :]),
    ):
        yield bench.genome(sentence, [flank, written, bench.flank()], **either)
    yield bench.genome(
        "letters for several bases right beside a known allele",
        [flank, b"RYKMN", Copy(locus, known), b"NNNRY", bench.flank()],
        **{locus: bench.exact(locus)},
    )


def _ends_of_contigs(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    known, new = bench.carried[locus], bench.changed(locus, 2)
    for word, sequence, expected in (
        ("known", known, bench.exact(locus)),
        ("new", new, novel(new)),
    ):
        copy, flank = Copy(locus, sequence), bench.flank()
        for place, contig in (
            ("at the very start of a contig", [copy, flank]),
            ("at the very end of a contig", [flank, copy]),
            ("as a contig of its own", [copy]),
        ):
            yield bench.genome(f"a {word} allele {place}", contig, **{locus: expected})


def _nested_alleles(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    known = bench.carried[locus]
    inside = (known[:-SHARED_BP], known[SHARED_BP:], known[SHARED_BP:-SHARED_BP])
    nested = bench.with_alleles(locus, inside)
    contig = [bench.flank(), Copy(locus, known, "-"), bench.flank()]
    yield nested.genome(
        "an allele with shorter alleles of its locus inside", contig, **{locus: bench.exact(locus)}
    )
    longer = bench.flank(SHARED_BP) + known
    outside = bench.with_alleles(locus, (longer,))
    yield outside.genome(
        "an allele that is a part of a longer one, which is not there",
        contig,
        **{locus: bench.exact(locus)},
    )


def _neighbours(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    """Two loci that share bases are both there."""
    known, own = bench.carried[locus], bench.flank(420)
    for strand, shared in (("+", known[-SHARED_BP:]), ("-", complemented(known[-SHARED_BP:]))):
        first = shared + own if strand == "+" else own + shared
        changed = first[:200] + _other(first[200:201]) + first[201:]
        several = bench.with_locus("neighbour", [first, changed])
        contig = [
            bench.flank(),
            Copy(locus, known),
            Copy("neighbour", first, strand, overlap=SHARED_BP),
            bench.flank(),
        ]
        yield several.genome(
            f"two loci that share 30 bases, the second on the {strand} strand",
            contig,
            **{locus: bench.exact(locus), "neighbour": several.exact("neighbour")},
        )
    touching = bench.with_locus("neighbour", [own])
    yield touching.genome(
        "two loci that touch each other",
        [bench.flank(), Copy(locus, known), Copy("neighbour", own), bench.flank()],
        **{locus: bench.exact(locus), "neighbour": touching.exact("neighbour")},
    )
    inner = known[100:-100]
    within = bench.with_locus("within", [inner])
    contig = [bench.flank(), Copy(locus, known)]
    contig += [Copy("within", inner, overlap=len(inner) + 100), known[-100:], bench.flank()]
    yield within.genome(
        "a locus that lies inside another one",
        contig,
        **{locus: bench.exact(locus), "within": within.exact("within")},
    )


def _relatives(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    """Two loci of the scheme that are 88 % identical are not taken for each other."""
    known = bench.carried[locus]
    relative = bench.changed(locus, len(known) * 12 // 100)
    pair = bench.with_locus("relative", [relative, _last_changed(relative)])
    both = {locus: pair.exact(locus), "relative": pair.exact("relative")}
    here, absent = [bench.flank(), Copy(locus, known), bench.flank()], in_state(MISSING)
    there = [bench.flank(), Copy("relative", relative, "-"), bench.flank()]
    new = bench.changed(locus, 3)
    yield pair.genome("two related loci that are both there", here, there, **both)
    yield pair.genome("the first of two related loci alone", here, **(both | {"relative": absent}))
    yield pair.genome("the second of two related loci alone", there, **(both | {locus: absent}))
    yield pair.genome(
        "a new allele of the first of two related loci alone",
        [bench.flank(), Copy(locus, new), bench.flank()],
        **{locus: novel(new), "relative": absent},
    )
    yield pair.genome(
        "two related loci, of which the first has a new allele",
        [bench.flank(), Copy(locus, new), bench.flank()],
        there,
        **(both | {locus: novel(new)}),
    )


def _last_changed(sequence: bytes) -> bytes:
    at = len(sequence) - 60
    return sequence[:at] + _other(sequence[at : at + 1]) + sequence[at + 1 :]


def _tiny_contigs(bench: Bench, locus: str) -> Iterator[EdgeGenome]:
    contig = [bench.flank(), Copy(locus, bench.carried[locus]), bench.flank()]
    exact = {locus: bench.exact(locus)}
    yield bench.genome("an empty contig beside others", [b""], contig, **exact)
    yield bench.genome(
        "contigs of 1, 8, 15 and 31 bases beside others",
        [b"A"],
        [SHORT],
        [bench.flank(15)],
        [bench.flank(31)],
        contig,
        **exact,
    )
    missing = {one: in_state(MISSING) for one in bench.alleles}
    yield bench.genome("nothing but contigs of 8 bases", [SHORT], [SHORT], **missing)

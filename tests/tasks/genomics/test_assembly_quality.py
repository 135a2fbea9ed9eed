import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import InconsistentInput
from blocks.genomics.genome import genome_of, read_genome
from blocks.genomics.quality_limits import QualityLimits, known_genera, limits_of
from blocks.genomics.records import AssemblyStatistics, Criterion, SpeciesShare, Verdict
from tasks.genomics.assembly_quality import contigs_of, judge, statistics

SHARED = Path(__file__).parents[4] / "shared" / "data" / "genomics"
GENERA = [*known_genera(), "Shigella", "Achromobacter"]
EXPECTED = SHARED / "expected_genomes.json"


def counted(*sequences: bytes, quality: Sequence[bytes] | None = None) -> AssemblyStatistics:
    qualities = quality or [None] * len(sequences)
    return statistics(
        (f"contig {n}", sequence, phred)
        for n, (sequence, phred) in enumerate(zip(sequences, qualities, strict=True))
    )


def an_assembly(limits: QualityLimits, **changed: float) -> AssemblyStatistics:
    """Return an assembly that lies on every limit, but for what is changed."""
    fields = {
        "n_contigs": limits.max_contigs,
        "total_length": limits.min_length,
        "n50": limits.min_n50,
        "l50": 10,
        "longest": 1_000_000,
        "gc_share": 0.5,
        "low_quality": 0,
        "low_quality_share": limits.max_low_quality_share,
    }
    return AssemblyStatistics.model_validate({**fields, **changed})


def the_species(limits: QualityLimits, percent: float) -> tuple[SpeciesShare, ...]:
    name = f"{limits.allowed_species[0]} nova"
    return (SpeciesShare(name=name, percent=percent), SpeciesShare(name="Homo sapiens", percent=1))


def judged(genus: str, **changed: float) -> Verdict:
    limits = limits_of(genus)
    species = the_species(limits, changed.pop("percent", limits.min_species_percent))
    return judge(an_assembly(limits, **changed), species, limits)


def failure(verdict: Verdict) -> Criterion:
    (failed,) = verdict.failures
    return failed


# Statistics


def test_contigs_below_300_bp_are_not_counted() -> None:
    found = counted(b"A" * 299, b"G" * 300)

    assert (found.n_contigs, found.total_length, found.min_contig) == (1, 300, 300)
    assert found.gc_share == 1.0


def test_n50_is_the_contig_in_which_half_of_the_bases_is_reached() -> None:
    found = counted(b"A" * 400, b"C" * 1000, b"G" * 600)

    assert (found.n50, found.l50, found.longest) == (1000, 1, 1000)
    assert found.contig_lengths == (1000, 600, 400)


@given(st.lists(st.integers(300, 900), min_size=1, max_size=40))
def test_half_of_the_bases_lies_in_contigs_of_n50_or_more(lengths: list[int]) -> None:
    found = counted(*(b"A" * length for length in lengths))

    longest = sorted(lengths, reverse=True)
    assert 2 * sum(longest[: found.l50]) >= sum(lengths) > 2 * sum(longest[: found.l50 - 1])
    assert longest[found.l50 - 1] == found.n50


def test_gc_is_counted_over_known_bases_in_either_case() -> None:
    found = counted(b"GCgc" * 50 + b"ATat" * 50 + b"N" * 600 + b"RYK" * 10)

    assert found.gc_share == 0.5


def test_without_qualities_only_unknown_bases_are_of_low_quality() -> None:
    found = counted(b"acgtACGT" * 100 + b"NnRY-*" * 10)

    assert (found.low_quality, found.low_quality_share) == (60, 60 / 860)


def test_a_base_of_quality_9_is_low_and_one_of_10_is_not() -> None:
    quality = bytes([33 + 9] * 7 + [33 + 10] * 3 + [33 + 40] * 390)

    found = counted(b"A" * 395 + b"N" * 5, quality=[quality])

    assert found.low_quality == 7 + 5


def test_a_base_that_is_unknown_and_of_low_quality_counts_once() -> None:
    assert counted(b"N" * 300, quality=[b"!" * 300]).low_quality == 300


def test_qualities_that_do_not_fit_their_bases_are_refused() -> None:
    with pytest.raises(InconsistentInput, match="'contig 0' has 300 bases but 299 qualities"):
        counted(b"A" * 300, quality=[b"I" * 299])


def test_an_assembly_without_contigs_has_no_bases() -> None:
    found = statistics([], mean_depth=3.5)

    assert (found.n_contigs, found.total_length, found.n50, found.l50, found.longest) == (0,) * 5
    assert (found.gc_share, found.low_quality_share, found.mean_depth) == (0, 0, 3.5)


def test_a_genome_in_memory_gives_the_same_numbers_as_its_contigs() -> None:
    contigs = [("a", b"ACGN" * 100, b"5" * 400), ("b", b"GG" * 200, b"%" * 400)]

    assert statistics(contigs_of(genome_of("x", iter(contigs)))) == statistics(contigs)


@pytest.mark.skipif(not EXPECTED.is_file(), reason="the genomes lie beside the repository")
def test_the_statistics_of_a_public_draft_genome_are_those_that_others_count() -> None:
    said = json.loads(EXPECTED.read_text())["Sal_SRR6126859"]["stats"]
    genome = read_genome(SHARED / "genomes" / "Sal_SRR6126859.fna.gz")

    found = statistics(contigs_of(genome), min_contig=1)

    names = ("contigs", "total", "n50", "l50", "max", "n")
    counts = (found.n_contigs, found.total_length, found.n50, found.l50, found.longest)
    assert (*counts, found.low_quality) == tuple(said[name] for name in names)
    assert round(100 * found.gc_share, 3) == said["gc"]


# Limits, genus by genus


@pytest.mark.parametrize("genus", GENERA)
def test_an_assembly_on_every_limit_passes(genus: str) -> None:
    verdict = judged(genus)

    assert (verdict.passed, verdict.reason) == (True, "")
    assert [one.passed for one in verdict.criteria] == [True] * 5


@pytest.mark.parametrize("genus", GENERA)
def test_one_base_under_the_smallest_size_fails(genus: str) -> None:
    least = limits_of(genus).min_length

    failed = failure(judged(genus, total_length=least - 1))

    assert failed.name == "Number of bases"
    assert f"too small: {least - 1:,} bp, at least {least:,} bp" in failed.reason


@pytest.mark.parametrize("genus", GENERA)
def test_the_largest_size_passes_and_one_base_over_fails(genus: str) -> None:
    most = limits_of(genus).max_length

    failed = failure(judged(genus, total_length=most + 1))

    assert judged(genus, total_length=most).passed
    assert f"too large: {most + 1:,} bp, at most {most:,} bp" in failed.reason


@pytest.mark.parametrize("genus", GENERA)
def test_one_contig_over_fails(genus: str) -> None:
    most = limits_of(genus).max_contigs

    failed = failure(judged(genus, n_contigs=most + 1))

    assert failed.name == "Number of contigs"
    assert f"{most + 1:,} contigs, at most {most:,}" in failed.reason


@pytest.mark.parametrize("genus", GENERA)
def test_an_n50_one_base_under_the_limit_fails(genus: str) -> None:
    least = limits_of(genus).min_n50

    failed = failure(judged(genus, n50=least - 1))

    assert failed.name == "N50"
    assert f"N50 is {least - 1:,} bp, at least {least:,} bp" in failed.reason


@pytest.mark.parametrize("genus", GENERA)
def test_one_base_of_low_quality_too_many_fails(genus: str) -> None:
    limits = limits_of(genus)
    allowed = round(limits.max_low_quality_share * limits.min_length)

    failed = failure(judged(genus, low_quality_share=(allowed + 1) / limits.min_length))

    assert judged(genus, low_quality_share=allowed / limits.min_length).passed
    assert failed.name == "Low-quality bases"
    assert failed.value != failed.limit.removeprefix("at most ")


@pytest.mark.parametrize("genus", GENERA)
def test_a_hundredth_of_a_percent_too_little_of_the_species_fails(genus: str) -> None:
    least = limits_of(genus).min_species_percent

    failed = failure(judged(genus, percent=least - 0.01))

    assert failed.name == "Species"
    assert f"Only {least - 0.01:.2f} % of the assembly is" in failed.reason


# What a verdict says


def test_the_criteria_come_in_the_documented_order() -> None:
    names = [one.name for one in judged("Salmonella").criteria]

    assert names == [
        "Number of bases", "Number of contigs", "N50", "Low-quality bases", "Species",
    ]  # fmt: skip


def test_a_verdict_speaks_in_units_that_a_biologist_reads() -> None:
    verdict = judged("Salmonella", total_length=4_851_234, n_contigs=1, low_quality_share=0.01234)

    assert [(one.value, one.limit) for one in verdict.criteria] == [
        ("4.85 Mb", "4.00 to 5.80 Mb"),
        ("1", "at most 600"),
        ("20,000 bp", "at least 20,000 bp"),
        ("1.2 %", "at most 5.0 %"),
        ("65.0 %: most is Salmonella nova (65.00 %)", "at least 65.0 % Salmonella"),
    ]


def test_every_failure_has_its_reason_and_all_are_told() -> None:
    limits = limits_of("Salmonella")
    bad = an_assembly(
        limits, total_length=3_850_000, n_contigs=1200, n50=900, low_quality_share=0.4
    )

    verdict = judge(bad, (SpeciesShare(name="Homo sapiens", percent=99.5),), limits)

    assert not verdict.passed
    assert verdict.reason == (
        "The assembly is too small: 3.85 Mb, at least 4.00 Mb for Salmonella; "
        "The assembly is in too many pieces: 1,200 contigs, at most 600 for Salmonella; "
        "The contigs are too short: N50 is 900 bp, at least 20,000 bp for Salmonella; "
        "Too many bases are of low quality: 40.0 %, at most 5.0 % for Salmonella; "
        "Only 0.0 % of the assembly is Salmonella, at least 65.0 % for Salmonella: "
        "most is Homo sapiens (99.50 %)"
    )


def test_an_assembly_without_contigs_fails() -> None:
    verdict = judge(statistics([]), None, limits_of("Salmonella"))

    assert [one.name for one in verdict.failures] == ["Number of bases", "N50"]


def test_an_unknown_genus_is_said_to_be_judged_by_the_default() -> None:
    verdict = judged("Achromobacter", n50=5)

    assert verdict.genus == "default"
    assert "by the default limits" in verdict.reason


# Species


def test_species_that_nobody_looked_at_are_no_failure_and_no_success() -> None:
    limits = limits_of("Salmonella")

    verdict = judge(an_assembly(limits), None, limits)

    species = verdict.criteria[-1]
    assert (species.passed, species.reason) == (None, "No species database: not looked at")
    assert verdict.passed


def test_an_assembly_of_which_no_species_was_found_fails() -> None:
    limits = limits_of("Salmonella")

    failed = failure(judge(an_assembly(limits), (), limits))

    assert failed.reason.endswith("no species was found")


def found_in(genus: str, *species: tuple[str, float]) -> bool | None:
    limits = limits_of(genus)
    shares = tuple(SpeciesShare(name=name, percent=percent) for name, percent in species)
    return judge(an_assembly(limits), shares, limits).criteria[-1].passed


@pytest.mark.parametrize("genus", ["Escherichia", "Shigella"])
def test_shigella_and_escherichia_count_together(genus: str) -> None:
    assert found_in(genus, ("Escherichia coli", 35.1), ("Shigella flexneri", 29.9))


def test_a_species_that_another_genus_took_over_counts() -> None:
    assert found_in("Klebsiella", ("Enterobacter aerogenes", 90))
    assert not found_in("Klebsiella", ("Enterobacter cloacae", 90))


@pytest.mark.parametrize("name", ["Salmonellosis phage", "Phage of Salmonella", "[Salmonella] x"])
def test_a_name_that_only_resembles_the_genus_does_not_count(name: str) -> None:
    assert not found_in("Salmonella", (name, 99))


def test_the_upper_and_lower_case_of_a_species_do_not_matter() -> None:
    assert found_in("Salmonella", ("SALMONELLA ENTERICA", 99))


def test_the_default_wants_one_species_whichever() -> None:
    assert found_in("default", ("Homo sapiens", 66))
    assert not found_in("default", ("Homo sapiens", 40), ("Mus musculus", 40))


def test_shares_are_added_up_without_the_errors_of_adding() -> None:
    shares = [("Salmonella a", 60.3), ("Salmonella b", 4.1), ("Salmonella c", 0.6)]

    assert found_in("Salmonella", *shares)

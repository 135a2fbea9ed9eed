"""The site's texts, after numbers of ours gave way to those of PubMLST."""

from typing import Any

import pytest

from blocks.genomics.renumbering import Renumbered, moved_annotation, moved_results


def test_only_the_locus_and_number_that_moved_are_rewritten_in_the_sites_text() -> None:
    line = "c1\tlimsflow\tgene\t1\t9\t.\t+\t.\tID=a%3Bb.1;locus=a%3Bb;allele={};status=exact"
    other = "c1\tlimsflow\tgene\t1\t9\t.\t+\t.\tID=b.1;locus=b;allele=1000;status=exact"
    before = "\n".join([line.format(1000), line.format(10_001), other])

    assert moved_annotation(before, {("a;b", 1000): 4}) == "\n".join(
        [line.format(4), line.format(10_001), other]
    )


@pytest.mark.parametrize("old", [{}, {"alleles": None}, {"alleles": ["x"]}, {"ST": 3}])
def test_results_without_alleles_stay_as_they_are(old: dict[str, Any]) -> None:
    assert moved_results(old, {("a", 1): 2}) == old


def test_a_renumbering_reads_as_a_line_of_a_report() -> None:
    said = [str(Renumbered(locus=locus, before=1_000_000, now=14)) for locus in ("adk", None)]

    assert said == ["allele adk 1000000 is 14 now", "sequence type 1000000 is 14 now"]

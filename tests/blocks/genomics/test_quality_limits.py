import json
from pathlib import Path

import pytest

from blocks.errors import InvalidRequest
from blocks.genomics.quality_limits import known_genera, limits_of

# Genus, size in Mb, min N50, max contigs: EnteroBase's QA_evaluation 2.3.
PUBLISHED = [
    ("Salmonella", 4.0, 5.8, 20_000, 600),
    ("Escherichia", 3.7, 6.4, 13_000, 1_000),
    ("Yersinia", 3.7, 5.5, 15_000, 600),
    ("Moraxella", 1.8, 2.6, 20_000, 600),
    ("Vibrio", 3.0, 5.9, 20_000, 700),
    ("Helicobacter", 1.3, 3.0, 10_000, 600),
    ("Clostridium", 2.0, 7.0, 20_000, 800),
    ("Streptococcus", 1.5, 2.6, 20_000, 600),
    ("Mycobacterium", 3.0, 7.0, 15_000, 600),
    ("Klebsiella", 4.3, 7.3, 20_000, 800),
    ("Listeria", 2.5, 3.3, 20_000, 600),
    ("Neisseria", 1.8, 2.4, 20_000, 500),
    ("Pseudomonas", 5.5, 7.5, 15_000, 800),
    ("Bacillus", 3.0, 6.0, 20_000, 600),
    ("Xanthomonas", 2.3, 6.0, 15_000, 800),
    ("Xylella", 2.3, 6.0, 15_000, 800),
    ("Treponema", 0.9, 5.0, 20_000, 600),
    ("Clostridioides", 3.6, 4.8, 20_000, 600),
]


def a_site_file(directory: Path, content: object) -> Path:
    path = directory / "limits.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(("genus", "low", "high", "n50", "contigs"), PUBLISHED)
def test_a_genus_has_the_limits_that_enterobase_publishes(
    genus: str, low: float, high: float, n50: int, contigs: int
) -> None:
    limits = limits_of(genus)

    assert (limits.min_length, limits.max_length) == (round(low * 1e6), round(high * 1e6))
    assert (limits.min_n50, limits.max_contigs) == (n50, contigs)


def test_no_genus_is_missing_and_none_is_invented() -> None:
    assert known_genera() == sorted(row[0] for row in PUBLISHED)


@pytest.mark.parametrize("genus", [row[0] for row in PUBLISHED])
def test_the_shares_of_a_genus_are_those_of_its_page_or_the_usual_ones(genus: str) -> None:
    limits = limits_of(genus)

    low_quality = 0.03 if genus in {"Clostridioides", "Listeria"} else 0.05
    assert limits.max_low_quality_share == low_quality
    assert limits.min_species_percent == (70 if genus == "Listeria" else 65)
    assert limits.allowed_species[0] == genus


@pytest.mark.parametrize("name", ["salmonella", "SALMONELLA", " Salmonella\n"])
def test_a_genus_is_found_however_it_is_written(name: str) -> None:
    assert limits_of(name) == limits_of("Salmonella")


@pytest.mark.parametrize("name", ["Shigella", "shigella"])
def test_shigella_is_judged_as_escherichia(name: str) -> None:
    limits = limits_of(name)

    assert (limits.genus, limits.is_default) == ("Escherichia", False)
    assert limits.allowed_species == ("Escherichia", "Shigella")


def test_an_unknown_genus_has_the_loosest_limits_and_says_so() -> None:
    limits = limits_of("achromobacter")

    known = [limits_of(genus) for genus in known_genera()]
    assert limits.is_default
    assert limits.allowed_species == ("Achromobacter",)
    assert limits.min_length == min(one.min_length for one in known)
    assert limits.max_length == max(one.max_length for one in known)
    assert limits.min_n50 == min(one.min_n50 for one in known)
    assert limits.max_contigs == max(one.max_contigs for one in known)


def test_the_default_itself_takes_any_species() -> None:
    assert limits_of("default").allowed_species == ()


@pytest.mark.parametrize(
    "name", ["", "  ", "../../etc/passwd", "<script>", "Salmonella enterica", "a" * 5_000, "x\0y"]
)
def test_what_is_no_genus_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="is not the name of a genus"):
        limits_of(name)


# A site's own file


def test_a_site_changes_one_limit_and_keeps_the_others(tmp_path: Path) -> None:
    path = a_site_file(tmp_path, {"about": "ours", "genera": {"salmonella": {"min_n50": 30_000}}})

    changed = limits_of("Salmonella", path)

    assert changed == limits_of("Salmonella").model_copy(update={"min_n50": 30_000})
    assert limits_of("Shigella", path) == limits_of("Shigella")


def test_a_site_adds_a_genus_with_what_it_leaves_out_from_its_default(tmp_path: Path) -> None:
    content = {"genera": {"Photorhabdus": {"min_n50": 9}}, "default": {"max_contigs": 77}}
    path = a_site_file(tmp_path, content)

    limits = limits_of("photorhabdus", path)

    assert (limits.genus, limits.min_n50, limits.max_contigs) == ("Photorhabdus", 9, 77)
    assert limits.allowed_species == ("Photorhabdus",)
    assert limits_of("Achromobacter", path).max_contigs == 77
    assert limits_of("Salmonella", path).max_contigs == 600


def test_a_site_that_lists_shigella_judges_it_by_that(tmp_path: Path) -> None:
    path = a_site_file(tmp_path, {"genera": {"Shigella": {"max_contigs": 5}}})

    assert (limits_of("Shigella", path).genus, limits_of("shigella", path).max_contigs) == (
        "Shigella",
        5,
    )


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "Expecting"),
        ("[" * 100_000, "recursion"),
        ("[]", "it is not a JSON object"),
        ({"species": {}}, "'species' is none of about, default, genera"),
        ({"genera": []}, "are not objects"),
        ({"default": 5}, "are not objects"),
        ({"genera": {"Salmonella": 5}}, "Salmonella is not an object"),
        ({"genera": {"Salmonella": {"genus": "x"}}}, "Salmonella is not an object"),
        ({"genera": {"a b": {}}}, "'a b' is not the name of a genus"),
        ({"genera": {"Default": {}}}, "'Default' is not the name of a genus"),
        ({"genera": {"Vibrio": {}, "vibrio": {}}}, "a genus is there twice"),
        ('{"genera": {"Vibrio": {}, "Vibrio": {}}}', "'Vibrio' is there twice"),
        ({"genera": {"Vibrio": {"n50": 1}}}, "Vibrio: n50: Extra inputs"),
        ({"genera": {"Vibrio": {"min_n50": "many"}}}, "Vibrio: min_n50: .*integer"),
        ({"genera": {"Vibrio": {"min_n50": -1}}}, "Vibrio: min_n50: .*greater"),
        ('{"genera": {"Vibrio": {"min_species_percent": NaN}}}', "Vibrio: min_species_percent"),
        ({"genera": {"Vibrio": {"max_low_quality_share": 5}}}, "Vibrio: max_low_quality_share"),
        ({"genera": {"Vibrio": {"min_length": 9_000_000}}}, "Vibrio: .*larger than max_length"),
        ({"genera": {"Vibrio": {"allowed_species": [""]}}}, "Vibrio: allowed_species: 0"),
        ({"default": {"min_length": 9_000_000}}, "default: .*larger than max_length"),
    ],
)
def test_a_bad_file_is_refused_and_its_fault_is_named(
    tmp_path: Path, content: object, fault: str
) -> None:
    path = a_site_file(tmp_path, content)

    with pytest.raises(InvalidRequest, match=rf"limits\.json is not valid: .*{fault}"):
        limits_of("Salmonella", path)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")

    for name in ("nothing.json", "binary.json", "."):
        with pytest.raises(InvalidRequest, match="is not valid"):
            limits_of("Salmonella", tmp_path / name)

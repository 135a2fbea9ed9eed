"""Pipelines as data: what is shipped, a site's own, and what a file must not say."""

import json
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import InvalidRequest
from blocks.genomics.pipeline import filled_arguments, load_pipeline, pipeline_names

A_PIPELINE: dict[str, Any] = {
    "about": "virulence genes",
    "program": "virus-finder",
    "arguments": ["--in", "{fasta}", "--out={output}"],
    "output": "found.json",
    "reader": "json",
    "version": {"arguments": ["--version"], "pattern": "v(\\S+)"},
    "time_limit_s": 60,
    "fields": {"genes": "summary.genes"},
}


def site_with(directory: Path, stem: str = "virulence", /, **changes: Any) -> Path:
    """Write a site's own pipeline; a change to None takes the key away."""
    content = {key: value for key, value in (A_PIPELINE | changes).items() if value is not None}
    (directory / f"{stem}.json").write_text(json.dumps(content))
    return directory


def test_three_generic_schemes_are_there_without_a_site() -> None:
    assert pipeline_names() == ["CRISPer", "SeroPred", "annotation"]
    assert [load_pipeline(name).program for name in pipeline_names()] == [
        "pilercr",
        "sistr",
        "prodigal",
    ]


def test_a_new_scheme_needs_a_file_and_no_code(tmp_path: Path) -> None:
    site = site_with(tmp_path)

    assert load_pipeline("virulence", site).fields == {"genes": "summary.genes"}
    assert pipeline_names(site) == ["CRISPer", "SeroPred", "annotation", "virulence"]


def test_the_sites_own_pipeline_wins(tmp_path: Path) -> None:
    site = site_with(tmp_path, "SeroPred", about="ours")

    assert load_pipeline("SeroPred", site).about == "ours"


@pytest.mark.parametrize("name", ["", "../SeroPred", "/etc/passwd", "a/b", "-rf", "Sero\nPred"])
def test_a_name_that_could_be_a_path_is_no_pipeline(name: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a pipeline name"):
        load_pipeline(name)


def test_an_unknown_pipeline_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="'MLST'; known: CRISPer, SeroPred, annotation"):
        load_pipeline("MLST")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"shell": "rm -rf /"}, "shell: Extra inputs are not permitted"),
        ({"program": None}, "program: Field required"),
        ({"program": "../../bin/sh"}, "program: String should match pattern"),
        ({"program": "sh -c"}, "program: String should match pattern"),
        ({"arguments": ["{fasta}", "{home}"]}, "arguments: .*'{home}' has something other"),
        ({"arguments": ["{fasta}", "${HOME}"]}, "arguments: .*has something other"),
        ({"arguments": ["{fasta}", "a}"]}, "arguments: .*has something other"),
        ({"arguments": ["{fasta}", "{fasta.name}"]}, "arguments: .*has something other"),
        ({"arguments": ["{fasta}", "a\0b"]}, "arguments: .*has something other"),
        ({"arguments": ["-o", "{output}"]}, "arguments: .*is not given {fasta}"),
        ({"arguments": "{fasta}"}, "arguments: "),
        ({"output": "../../found.json"}, "'../../found.json' is no file name"),
        ({"output": "/etc/passwd"}, "'/etc/passwd' is no file name"),
        ({"output": "assembly.fasta"}, "'assembly.fasta' is no file name"),
        ({"output": "stdout"}, "{output} has no meaning"),
        ({"files": {"gff_file": "a/../../b"}}, "is no file name"),
        ({"files": {"gff_file": "assembly.fasta.gz"}}, "'assembly.fasta' is no file name"),
        ({"files": {"genes": "b"}}, "'genes' is a field and a file"),
        ({"makes": {"a.gbk": "eval"}}, "makes: .*'eval' is none of genbank"),
        ({"makes": {"../a.gbk": "genbank"}}, "is no file name"),
        ({"reader": "pickle"}, "reader: .*'pickle' is none of json, json-list, tsv, pilercr, gff"),
        ({"version": {"arguments": [], "pattern": "("}}, "version.pattern: .*regular expression"),
        ({"version": {"arguments": [], "pattern": "v"}}, "version.pattern: .*exactly one group"),
        ({"time_limit_s": 0}, "time_limit_s: Input should be greater than 0"),
        ({"fields": {}}, "fields: "),
        ({"name": "other"}, "its name is that of the file"),
    ],
)
def test_a_pipeline_file_with_a_fault_is_named_with_its_fault(
    tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    site = site_with(tmp_path, **changes)

    with pytest.raises(InvalidRequest, match=f"pipeline file {site}/virulence.json .*{fault}"):
        load_pipeline("virulence", site)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe", b"null"])
def test_a_file_that_is_no_json_object_is_no_pipeline(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "virulence.json").write_bytes(content)

    with pytest.raises(InvalidRequest, match=r"pipeline file .*virulence\.json"):
        load_pipeline("virulence", tmp_path)


def test_placeholders_are_filled_once_and_arguments_stay_whole(tmp_path: Path) -> None:
    arguments = ["{fasta}", "-o{output}", "-t", "{n_processes}", "{directory}", "{genus}", "; a"]
    pipeline = load_pipeline("virulence", site_with(tmp_path, arguments=arguments))
    place = Path("/data/{genus} of {fasta}")

    filled = filled_arguments(pipeline, directory=place, n_processes=3, genus="Salmonella")

    assert filled == [
        f"{place}/assembly.fasta",
        f"-o{place}/found.json",
        *("-t", "3", str(place), "Salmonella", "; a"),
    ]


@pytest.mark.parametrize("genus", [None, "", "--exec", "Salmonella; rm", "escherichia", "A\nB"])
def test_a_program_is_told_a_genus_or_nothing(tmp_path: Path, genus: str | None) -> None:
    site = site_with(tmp_path, arguments=["{fasta}", "--genus", "{genus}"])

    with pytest.raises(InvalidRequest, match="must be told the genus"):
        filled_arguments(
            load_pipeline("virulence", site), directory=tmp_path, n_processes=1, genus=genus
        )


def test_a_serovar_is_not_asked_for_outside_salmonella() -> None:
    pipeline = load_pipeline("SeroPred")

    with pytest.raises(InvalidRequest, match="SeroPred is for Salmonella, not for 'Escherichia'"):
        filled_arguments(pipeline, directory=Path("/d"), n_processes=1, genus="Escherichia")
    assert filled_arguments(pipeline, directory=Path("/d"), n_processes=1, genus=None)

"""What would fail again is put aside, and called again when something of it has changed."""

import json
from typing import Any

import pytest

from blocks.errors import InconsistentInput, InvalidRequest, ProgramFailed, ProgramNotFound
from blocks.genomics.records import Fate, LookupStatus
from tests.fakes.programs import script
from tests.flows.isolates import Isolates
from tests.flows.test_type_generic import a_pipeline

REFUSES = """#!/bin/sh
[ "$1" = -v ] && echo "finder {version}" && echo asked >> {root}/asked && exit
echo "finder: this is no genome" >&2
exit 3
"""
CONTENT = "this is no genome"


def a_damaged_genome(isolates: Isolates) -> str:
    path = isolates.root / "damaged.fasta.gz"
    path.write_bytes(b"\x1f\x8b\x08half")
    return isolates.register(path)


def a_refusing_program(isolates: Isolates, version: str = "1.0") -> None:
    script(isolates.programs / "finder", REFUSES.format(version=version, root=isolates.root))


def refused(isolates: Isolates, barcode: str, scheme: str, **options: Any) -> str:
    """Return why an assembly is not typed now; nothing is run."""
    before = isolates.look.rows("SELECT * FROM scheme_calls")
    with pytest.raises(InvalidRequest, match="was put aside") as found:
        isolates.type(barcode, scheme, **options)
    assert isolates.look.rows("SELECT * FROM scheme_calls") == before
    return str(found.value)


def test_a_second_run_repeats_the_reason_and_says_what_would_help(isolates: Isolates) -> None:
    barcode = a_damaged_genome(isolates)
    with pytest.raises(InconsistentInput):
        isolates.type(barcode)
    said = refused(isolates, barcode, "mlst")

    assert said.startswith(f"mlst of {barcode} was put aside: damaged.fasta.gz is a damaged gzip")
    assert "when the version of the assembly or scheme, or the tool (limsflow " in said
    assert said.endswith("changes, or by force (--force)")
    assert [row.status for row in isolates.look.rows("SELECT status FROM user_jobs")] == [
        "FAILED", "FAILED",
    ]  # fmt: skip


def test_what_was_mended_is_typed_when_a_person_forces_it(isolates: Isolates) -> None:
    barcode = a_damaged_genome(isolates)
    with pytest.raises(InconsistentInput):
        isolates.type(barcode)
    mended = isolates.store.isolates.assembly(isolates.genome(3, suffix=".fa.gz")).file_pointer
    assert mended
    mended.replace(isolates.root / "damaged.fasta.gz")
    refused(isolates, barcode, "mlst")

    assert isolates.type(barcode, force=True).st == 3


@pytest.mark.parametrize(
    "change",
    ["UPDATE schemes SET version = 2", "UPDATE assemblies SET version = 2"],
)
def test_a_new_version_of_what_failed_is_typed(isolates: Isolates, change: str) -> None:
    barcode = a_damaged_genome(isolates)
    for _ in range(2):
        with pytest.raises((InconsistentInput, InvalidRequest)):
            isolates.type(barcode)
    isolates.look.change(change)
    with pytest.raises(InconsistentInput, match="is a damaged gzip file"):
        isolates.type(barcode)

    assert isolates.call(barcode).fate is Fate.PERMANENT


def tool_of(isolates: Isolates) -> str:
    return str(isolates.look.value("SELECT tool FROM scheme_calls"))


def test_a_program_that_said_no_is_asked_again_when_it_or_its_pipeline_changes(
    isolates: Isolates,
) -> None:
    options = {"toolchain": isolates.toolchain()}
    a_pipeline(isolates, "Finding")
    a_refusing_program(isolates)
    scheme, barcode = isolates.generic("Finding", pipeline="Finding"), isolates.genome()
    tools = list[str]()
    for version, limit_s in (("1.0", 60), ("1.1", 60), ("1.1", 61)):
        a_refusing_program(isolates, version)
        a_pipeline(isolates, "Finding", time_limit_s=limit_s)
        with pytest.raises(ProgramFailed, match=CONTENT):
            isolates.type(barcode, scheme, **options)
        tools.append(tool_of(isolates))
        assert CONTENT in refused(isolates, barcode, scheme, **options)
    names, digests, versions = zip(*(tool.split() for tool in tools), strict=True)

    assert set(names) == {"Finding"}
    assert (digests[0], len(digests[0])) == (digests[1], 8)
    assert digests[1] != digests[2]
    assert versions == ("1.0", "1.1", "1.1")


def test_a_program_is_asked_for_its_version_once_by_all_claims_of_a_process(
    isolates: Isolates,
) -> None:
    options = {"toolchain": isolates.toolchain()}
    a_pipeline(isolates, "Finding")
    a_refusing_program(isolates)
    scheme = isolates.generic("Finding", pipeline="Finding")
    for barcode in [isolates.genome() for _ in range(3)]:
        with pytest.raises(ProgramFailed):
            isolates.type(barcode, scheme, **options)

    asked = (isolates.root / "asked").read_text().count("asked")
    assert asked == 1 + 3  # each call that runs says with what


def test_a_program_that_is_missing_fails_on_record_and_is_tried_when_it_is_there(
    isolates: Isolates,
) -> None:
    options = {"toolchain": isolates.toolchain(environment={"PATH": str(isolates.root)})}
    a_pipeline(isolates, "Finding", files={})
    scheme, barcode = isolates.generic("Finding", pipeline="Finding"), isolates.genome()
    with pytest.raises(ProgramNotFound):
        isolates.type(barcode, scheme, **options)
    call, tool = isolates.call(barcode, scheme), tool_of(isolates)
    script(isolates.programs / "finder", '#!/bin/sh\n[ "$1" = -v ] && echo finder 2 && exit\n'
           "echo '{\"type\": 5}'\n")  # fmt: skip
    typed = isolates.type(barcode, scheme, **options)

    assert (call.status, call.fate) == (LookupStatus.FAILED, Fate.TRANSIENT)
    assert len(tool.split()) == 2  # without a version
    assert typed.results == {"ST": 5}
    assert tool_of(isolates) == f"{tool} 2"


def test_a_pipeline_that_a_site_adds_is_tried(isolates: Isolates) -> None:
    options = {"toolchain": isolates.toolchain()}
    scheme, barcode = isolates.generic("Finding", pipeline="Finding"), isolates.genome()
    with pytest.raises(InvalidRequest, match="unknown pipeline"):
        isolates.type(barcode, scheme, **options)
    refused(isolates, barcode, scheme, **options)
    a_pipeline(isolates, "Finding")
    a_refusing_program(isolates)

    with pytest.raises(ProgramFailed, match=CONTENT):
        isolates.type(barcode, scheme, **options)


# What the old site found


def test_a_result_of_the_old_site_is_known_and_shown(
    isolates: Isolates, capsys: pytest.CaptureFixture[str]
) -> None:
    from deployments.cli import main  # noqa: PLC0415 - loads Prefect

    barcode = isolates.genome()
    isolates.look.change(
        "INSERT INTO assembly_lookup (assembly_id, scheme_id, status, version, st_barcode, "
        "other_data) VALUES (1, 1, 'COMPLETE', '1', 'SYN_BA0007AA_ST', :data)",
        data=json.dumps(json.dumps({"complete_count": 1})),
    )
    assert main(["isolate", "show", barcode, "--entero", isolates.url]) == 0
    said = capsys.readouterr().out
    typed = isolates.type(barcode)

    assert said.splitlines()[-1].split() == ["mlst", "COMPLETE", "SYN_BA0007AA_ST"]
    assert (typed.was_known, typed.st) == (True, None)
    assert isolates.type(barcode, force=True).st == 1

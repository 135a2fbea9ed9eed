"""One assembly by one nomenclature scheme: what the site shows afterwards, whatever happened."""

import threading
import time

import pytest

from blocks.errors import AlreadyRunning, InconsistentInput, NoSuchRecord
from blocks.genomics.records import CallStatus, Claim, Fate, JobStatus, LookupStatus
from blocks.genomics.synthetic_isolate import reading_frame_scheme
from tests.fakes.pages import columns, shape
from tests.flows.isolates import MLST, Isolates, a_run, with_new_allele

NEW = with_new_allele(MLST, 2, "demA")


def alleles(isolates: Isolates) -> tuple[int, int]:
    """Return how many alleles and types the database has."""
    return isolates.look.count("alleles"), isolates.look.count("sequence_types")


def statuses(isolates: Isolates, barcode: str) -> tuple[str, str, str]:
    """Return what our table, the site's table and the job say of the newest call."""
    look, call = isolates.look, isolates.call(barcode)
    seen = look.value("SELECT status FROM assembly_lookup ORDER BY id DESC LIMIT 1")
    assert call.job_id is not None
    return call.status.value, seen, isolates.store.jobs.job(call.job_id).status


def nothing_is_open(isolates: Isolates) -> bool:
    look = isolates.look
    tables = ("scheme_calls", "assembly_lookup", "user_jobs")
    return not any(look.count(table, status="QUEUED") for table in tables)


# What is found


def test_a_known_type_gets_its_number_and_nothing_is_minted(isolates: Isolates) -> None:
    barcode, before = isolates.genome(4), alleles(isolates)
    typed = isolates.type(barcode)

    assert (typed.st, typed.counts, typed.was_known) == (4, {CallStatus.EXACT: 7}, False)
    assert alleles(isolates) == before
    assert statuses(isolates, barcode) == ("COMPLETE",) * 3
    call = isolates.call(barcode)
    assert call.results["alleles"] == dict(zip(MLST.loci, MLST.profiles[3], strict=True))
    assert call.job_id == typed.job_id


def test_a_job_of_a_scheme_is_what_the_site_knows(isolates: Isolates) -> None:
    barcode = isolates.genome()
    typed = isolates.type(barcode)

    job = isolates.store.jobs.job(typed.job_id)
    assert (job.accession, job.pipeline) == (barcode, "nomenclature:Synthetica_mlst")
    assert (job.database, job.status, job.version) == ("synthetica", "COMPLETE", "1")
    assert isolates.store.jobs.runs(job.id) == [isolates.call(barcode).flow_run_id]


def test_positions_and_the_sites_gff_text_say_the_same(isolates: Isolates) -> None:
    barcode = isolates.genome()
    isolates.type(barcode)

    gff = isolates.look.value("SELECT annotation FROM assembly_lookup")
    lines = [line.split("\t") for line in gff.splitlines() if not line.startswith("#")]
    rows = isolates.look.rows("SELECT contig, start + 1, stop, strand FROM locus_positions")
    assert {(line[0], int(line[3]), int(line[4]), line[6]) for line in lines} == {*map(tuple, rows)}
    assert len(lines) == 7


def test_a_new_allele_with_good_bases_is_minted_and_its_type_too(isolates: Isolates) -> None:
    barcode, before = isolates.genome(2, carries=NEW, quality=10), alleles(isolates)
    typed = isolates.type(barcode)

    assert alleles(isolates) == (before[0] + 1, before[1] + 1)
    assert (typed.st, typed.counts[CallStatus.NOVEL]) == (7, 1)
    call = isolates.call(barcode)
    assert call.results["alleles"]["demA"] == 7
    assert call.st_barcode.startswith("SYN_")
    [row] = isolates.look.rows("SELECT sequence, minted_for FROM alleles WHERE number = 7")
    assert tuple(row) == (NEW["demA"].decode(), barcode)


def test_the_next_genome_with_that_allele_gets_the_same_type(isolates: Isolates) -> None:
    first, second = isolates.genome(2, carries=NEW), isolates.genome(2, carries=NEW, suffix=".fa")
    typed = [isolates.type(barcode) for barcode in (first, second)]

    assert [one.st for one in typed] == [7, 7]
    assert typed[1].counts == {CallStatus.EXACT: 7}


@pytest.mark.parametrize("given", [{"suffix": ".fasta"}, {"quality": 9}, {"weak": "demA"}], ids=str)
def test_a_new_allele_without_good_bases_has_no_number_and_no_type(
    isolates: Isolates, given: dict[str, object]
) -> None:
    barcode, before = isolates.genome(2, carries=NEW, **given), alleles(isolates)
    typed = isolates.type(barcode)

    assert alleles(isolates) == before
    assert (typed.st, typed.counts[CallStatus.NOVEL]) == (None, 1)
    assert isolates.call(barcode).results["alleles"]["demA"] is None
    assert statuses(isolates, barcode) == ("COMPLETE",) * 3


def test_a_missing_locus_is_0_and_leaves_the_genome_without_a_type(isolates: Isolates) -> None:
    barcode = isolates.genome(2, carries={"demC": None})
    typed = isolates.type(barcode)

    assert (typed.st, typed.counts[CallStatus.MISSING]) == (None, 1)
    assert isolates.call(barcode).results["alleles"]["demC"] == 0


# Once, again, and by force


def test_a_second_run_computes_nothing_and_says_so(isolates: Isolates) -> None:
    barcode = isolates.genome(2, carries=NEW)
    first = isolates.type(barcode)
    path = isolates.store.isolates.assembly(barcode).file_pointer
    assert path is not None
    path.unlink()  # whoever computed again would miss it
    before = isolates.look.rows("SELECT * FROM scheme_calls"), alleles(isolates)
    second = isolates.type(barcode)

    assert (second.st, second.was_known) == (first.st, True)
    assert second.results["loci"] == {"exact": 6, "novel": 1}
    assert (isolates.look.rows("SELECT * FROM scheme_calls"), alleles(isolates)) == before
    assert second.job_id != first.job_id
    assert isolates.store.jobs.job(second.job_id).status == "COMPLETE"


def test_force_computes_again_and_comes_to_the_same_answer(isolates: Isolates) -> None:
    barcode = isolates.genome(2, carries=NEW)
    first = isolates.type(barcode)
    before = alleles(isolates), isolates.call(barcode).results["alleles"]
    second = isolates.type(barcode, force=True)

    assert (second.st, second.was_known) == (first.st, False)
    assert (alleles(isolates), isolates.call(barcode).results["alleles"]) == before
    assert isolates.look.count("assembly_lookup") == 1
    assert isolates.call(barcode).job_id == second.job_id


def test_a_newer_version_of_the_scheme_is_called_again(isolates: Isolates) -> None:
    barcode = isolates.genome()
    isolates.type(barcode)
    isolates.look.change("UPDATE schemes SET version = 2")

    assert not isolates.type(barcode).was_known
    assert isolates.look.value("SELECT version FROM assembly_lookup") == "2"


# Failures


def test_a_file_that_comes_a_little_later_is_waited_for(isolates: Isolates) -> None:
    barcode = isolates.genome()
    path = isolates.store.isolates.assembly(barcode).file_pointer
    assert path is not None
    hidden = path.rename(path.with_suffix(".hidden"))

    def arrive() -> None:
        while isolates.look.count("scheme_calls") == 0:
            time.sleep(0.05)
        hidden.rename(path)

    share = threading.Thread(target=arrive)
    share.start()
    typed = isolates.type(barcode)
    share.join(10)

    assert typed.st == 1


def test_a_damaged_file_is_put_aside_with_its_reason(isolates: Isolates) -> None:
    path = isolates.root / "damaged.fasta.gz"
    path.write_bytes(b"\x1f\x8b\x08half")
    barcode, reason = isolates.register(path), "damaged.fasta.gz is a damaged gzip file"
    with pytest.raises(InconsistentInput, match=reason):
        isolates.type(barcode)

    call, report = isolates.call(barcode), isolates.report(barcode)
    assert (call.fate, call.reason.startswith(reason)) == (Fate.PERMANENT, True)
    assert statuses(isolates, barcode) == ("FAILED",) * 3
    assert ("put aside" in report, reason in report) == (True, True)


def test_an_assembly_without_a_file_is_put_aside(isolates: Isolates) -> None:
    barcode = isolates.genome()
    isolates.look.change("UPDATE assemblies SET file_pointer = NULL")
    with pytest.raises(InconsistentInput, match="has no file in the database"):
        isolates.type(barcode)

    assert isolates.call(barcode).fate is Fate.PERMANENT


@pytest.mark.parametrize(
    ("barcode", "scheme", "reason"),
    [
        ("SYN_XX0000XX_AS", "mlst", "there is no assembly 'SYN_XX0000XX_AS'"),
        ("SYN_AA0001AA_AS", "nowhere", "there is no scheme 'nowhere'; known: mlst"),
    ],
)
def test_what_is_not_in_the_database_leaves_no_job(
    isolates: Isolates, barcode: str, scheme: str, reason: str
) -> None:
    isolates.genome()
    with pytest.raises(NoSuchRecord, match=reason):
        isolates.type(barcode, scheme)

    assert isolates.look.count("user_jobs") == 0


def test_a_scheme_whose_alleles_are_not_loaded_is_put_aside(isolates: Isolates) -> None:
    barcode = isolates.genome()
    scheme = isolates.generic("empty", pipeline="nomenclature", scheme="Synthetica_empty")
    with pytest.raises(InconsistentInput, match="scheme empty has no alleles"):
        isolates.type(barcode, scheme)

    assert isolates.call(barcode, scheme).fate is Fate.PERMANENT


def test_a_bug_ends_failed_and_leaves_nothing_open(isolates: Isolates) -> None:
    # A place in the profile that no scheme of seven loci has: nobody foresaw it, nothing catches it
    barcode = isolates.genome()
    isolates.look.change("UPDATE loci SET place = 70 WHERE name = 'demG'")
    with pytest.raises(IndexError):
        isolates.type(barcode)

    call = isolates.call(barcode)
    assert (call.status, call.fate) == (LookupStatus.FAILED, Fate.BUG)
    assert call.reason.startswith("the flow run failed: ")
    assert "IndexError" in call.reason
    assert nothing_is_open(isolates)


def test_a_row_of_the_site_that_is_damaged_leaves_nothing_open(isolates: Isolates) -> None:
    barcode = isolates.genome()
    isolates.type(barcode)
    isolates.look.change("UPDATE assembly_lookup SET other_data = '{half', status = 'COMPLETE'")
    with pytest.raises(InconsistentInput, match="other_data of assembly 1 and scheme 1"):
        isolates.type(barcode, force=True)

    assert nothing_is_open(isolates)


# Others that work on the same pair


def held_by(isolates: Isolates, barcode: str, run_id: str) -> Claim:
    """Give the pair to a flow run."""
    store = isolates.store
    job = store.jobs.start(accession=barcode, pipeline="nomenclature", flow_run_id=run_id)
    claim = Claim(
        assembly=store.isolates.assembly(barcode),
        scheme=store.schemes.scheme("mlst"),
        job_id=job.id,
        flow_run_id=run_id,
    )
    assert store.calls.claim(claim, force=True).flow_run_id == run_id
    return claim


@pytest.mark.parametrize("state", ["RUNNING", "CANCELLING"])
def test_a_pair_that_a_live_run_works_on_is_left_to_it(isolates: Isolates, state: str) -> None:
    barcode = isolates.genome()
    claim = held_by(isolates, barcode, a_run(state))
    before = isolates.look.rows("SELECT * FROM scheme_calls")
    with pytest.raises(AlreadyRunning, match=claim.flow_run_id):
        isolates.type(barcode, force=True)

    assert isolates.look.rows("SELECT * FROM scheme_calls") == before
    jobs = [isolates.store.jobs.job(number).status for number in (claim.job_id, claim.job_id + 1)]
    assert jobs == [JobStatus.QUEUED, JobStatus.FAILED]


def test_of_runs_at_the_same_moment_one_makes_the_call(isolates: Isolates) -> None:
    barcode, before = isolates.genome(2, carries=NEW), alleles(isolates)
    ended = isolates.type_at_once(barcode, times=3)

    refused = [one for one in ended if isinstance(one, AlreadyRunning)]
    answers = [one for one in ended if not isinstance(one, BaseException)]
    assert len(refused) + len(answers) == 3
    assert [one.was_known for one in answers].count(False) == 1
    assert {one.st for one in answers} == {7}
    assert alleles(isolates) == (before[0] + 1, before[1] + 1)
    assert nothing_is_open(isolates)


def test_the_pair_of_a_dead_run_is_taken_over(isolates: Isolates) -> None:
    barcode, run = isolates.genome(3), a_run("CRASHED")
    held_by(isolates, barcode, run)

    assert isolates.type(barcode).st == 3
    assert isolates.call(barcode).flow_run_id != run
    assert nothing_is_open(isolates)


def test_a_pair_that_a_run_of_another_prefect_works_on_is_left_to_it(isolates: Isolates) -> None:
    barcode, elsewhere = isolates.genome(), "0" * 32
    held_by(isolates, barcode, elsewhere)
    with pytest.raises(AlreadyRunning, match=elsewhere):
        isolates.type(barcode)

    assert isolates.call(barcode).flow_run_id == elsewhere


def test_a_run_whose_right_was_taken_meanwhile_stores_nothing(isolates: Isolates) -> None:
    # The genome comes through a pipe: the run waits there while another one takes its right.
    carries = with_new_allele(MLST, 2, "demA", "demD")
    content = isolates.store.isolates.assembly(isolates.genome(2, carries=carries)).file_pointer
    assert content is not None
    pipe = isolates.a_pipe()
    barcode, before = isolates.register(pipe), alleles(isolates)
    thief = list[Claim]()

    def take() -> None:
        with pipe.open("wb") as writer:  # opens once the run reads
            assembly = isolates.store.isolates.assembly(barcode)
            [call] = isolates.store.calls.calls(assembly.id)
            isolates.look.change("UPDATE scheme_calls SET status = 'FAILED'")
            thief.append(held_by(isolates, barcode, a_run("RUNNING")))
            assert call.flow_run_id != thief[0].flow_run_id
            writer.write(content.read_bytes())

    other = threading.Thread(target=take)
    other.start()
    with pytest.raises(InconsistentInput, match="was given to another flow run meanwhile"):
        isolates.type(barcode)
    other.join(10)

    call = isolates.call(barcode)
    assert (call.status, call.flow_run_id) == (LookupStatus.QUEUED, thief[0].flow_run_id)
    assert (call.results, alleles(isolates)) == ({}, before)
    assert isolates.look.count("locus_positions") == 0
    assert isolates.look.count("user_jobs", status="QUEUED") == 1  # the other run's


# The report


def test_the_report_names_the_type_and_the_new_and_missing_loci(isolates: Isolates) -> None:
    many = reading_frame_scheme(n_loci=65, n_alleles=2, n_types=2, name="cgmlst")
    isolates.load(many, max_missing=0.1)
    lost, changed = many.loci[3], many.loci[5]
    carries = with_new_allele(many, 1, changed) | {lost: None}
    barcode = isolates.genome(1, scheme=many, carries=carries, length=150_000)
    typed = isolates.type(barcode, "cgmlst")
    report = isolates.report(barcode, "cgmlst")

    assert report.startswith(f"# cgmlst: ST {typed.st}")
    assert f"**{typed.st}**" in report
    sections = dict(part.split("\n\n", 1) for part in report.split("\n## ")[1:])
    assert lost.replace("_", "\\_") in sections["Missing (1)"]
    assert changed.replace("_", "\\_") in sections["Novel (1)"]
    assert f"{changed} 3".replace("_", "\\_") in sections["New alleles (1)"]
    assert "data:image/png;base64," in sections["Calls"]


def test_hostile_names_are_shown_and_do_nothing(isolates: Isolates) -> None:
    names = ["<script>alert(1)</script>", "a|b", "[x](http://evil)", "$\\frac{1}$", "\x1b[31mred"]
    for number, name in enumerate(names):
        locus = MLST.loci[number]
        isolates.look.change("UPDATE loci SET name = :new WHERE name = :old", new=name, old=locus)
    path = isolates.root / "hostile.fasta"
    text = MLST.carried(1).values()
    path.write_bytes(b"".join(b">%d<img/src=x>|\x1b[31m\n%s\n" % row for row in enumerate(text)))
    barcode = isolates.register(path)
    typed = isolates.type(barcode)
    report = isolates.report(barcode)

    assert typed.st == 1
    assert not {"html_block", "html_inline", "link_open"} & {*shape(report)}
    assert {*columns(report)} == {2, 4}
    assert "\x1b" not in report

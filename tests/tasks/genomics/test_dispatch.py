"""Which flow serves a job of the site: every row of EnteroBase's table of pipelines."""

import pytest

from blocks.errors import InvalidRequest
from blocks.genomics.records import Scheme, SchemeParam
from tasks.genomics.dispatch import Handler, dispatch, handler_of, pipeline_of


def a_scheme(description: str, number: int = 1, **param: str) -> Scheme:
    return Scheme(id=number, description=description, name="", param=SchemeParam(**param))


SCHEMES = {
    scheme.description: scheme
    for scheme in (
        a_scheme("MLST_Achtman", 1, pipeline="nomenclature", scheme="Senterica_UoW"),
        a_scheme("rMLST", 2, pipeline="nomenclature", scheme="Salmonella_rMLST"),
        a_scheme("SeroPred", 3, pipeline="SeroPred"),
        a_scheme("prokka_annotation", 4, pipeline="annotation"),
        a_scheme("AMR: v2", 5),
    )
}


@pytest.mark.parametrize(
    ("pipeline", "handler", "scheme"),
    [
        ("QAssembly", Handler.ASSEMBLE, ""),
        ("nomenclature:Salmonella_rMLST", Handler.TYPE, "rMLST"),
        ("nomenclature:Senterica_UoW", Handler.TYPE, "MLST_Achtman"),
        ("nomenclature:MLST_Achtman", Handler.TYPE, "MLST_Achtman"),
        ("SeroPred", Handler.TYPE, "SeroPred"),
        ("prokka_annotation", Handler.TYPE, "prokka_annotation"),
        ("AMR: v2", Handler.TYPE, "AMR: v2"),
        ("locus_search", Handler.SEARCH, ""),
    ],
)
@pytest.mark.parametrize("comment", ["", ";", "; sent again", ";locus_search", ";a:b;c"])
def test_each_kind_of_job_has_its_flow_and_a_comment_changes_nothing(
    pipeline: str, handler: Handler, scheme: str, comment: str
) -> None:
    found = dispatch(pipeline + comment, SCHEMES)

    assert (found.handler, found.scheme) == (handler, scheme)


@pytest.mark.parametrize(
    ("pipeline", "handler"),
    [
        (" locus_search ; sent again", Handler.SEARCH),
        ("QAssembly;x", Handler.ASSEMBLE),
        ("nomenclature:Salmonella_rMLST;locus_search", Handler.TYPE),
        ("a scheme that was removed", Handler.TYPE),
    ],
)
def test_what_serves_a_job_is_known_without_looking_at_schemes(
    pipeline: str, handler: Handler
) -> None:
    assert handler_of(pipeline) is handler


def test_a_locus_search_is_never_served_as_nomenclature_which_it_runs() -> None:
    schemes = SCHEMES | {"locus_search": a_scheme("locus_search", 9, scheme="locus_search")}

    assert dispatch("locus_search;nomenclature:Salmonella_rMLST", schemes).handler is Handler.SEARCH


@pytest.mark.parametrize(
    "pipeline",
    [
        *("", ";", ";QAssembly", "MSTree", "qassembly", "QAssembly:1", "locus_search:1"),
        *("nomenclature", "nomenclature:", "nomenclature:SeroPred", "nomenclature:nowhere"),
        *("SeroPred:1", "AMR", "matrix_phylogeny", "x" * 10_000, "\0"),
    ],
)
def test_a_job_that_nothing_serves_is_refused(pipeline: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        dispatch(pipeline, SCHEMES)

    assert len(str(refused.value)) < 200


def test_the_name_in_the_nomenclature_wins_over_a_scheme_that_is_called_so_here() -> None:
    schemes = {"Senterica_UoW": a_scheme("Senterica_UoW", 8, scheme="other")} | SCHEMES

    assert dispatch("nomenclature:Senterica_UoW", schemes).scheme == "MLST_Achtman"


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.description)
def test_what_is_written_for_a_scheme_comes_back_to_it(scheme: Scheme) -> None:
    found = dispatch(pipeline_of(scheme), SCHEMES)

    assert (found.handler, found.scheme) == (Handler.TYPE, scheme.description)


@pytest.mark.parametrize(
    ("name", "pipeline"),
    [
        ("rMLST", "nomenclature:Salmonella_rMLST"),
        ("SeroPred", "SeroPred"),
        ("prokka_annotation", "prokka_annotation"),
    ],
)
def test_a_jobs_pipeline_is_written_as_the_site_reads_it(name: str, pipeline: str) -> None:
    assert pipeline_of(SCHEMES[name]) == pipeline

import inspect
import pickle
import re
from pathlib import Path

import pytest

from blocks import errors
from blocks.errors import LimsflowError, OutputInvalid, ProgramError

CLASSES = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == errors.__name__
}
PROGRAM_ERRORS = [kind for kind in CLASSES.values() if issubclass(kind, ProgramError)]
LEAVES = [kind for kind in CLASSES.values() if not issubclass(kind, ProgramError)]


def drawn_tree() -> dict[str, str]:
    """Return each class that the docstring draws and the one that it hangs from."""
    drawing = re.findall(r"^ {4}([│ ]*[├└]── )?(\w+)", errors.__doc__ or "", re.MULTILINE)
    tree, above = dict[str, str](), dict[int, str]()
    for branch, name in drawing:
        depth = len(branch) // 4
        tree[name] = above.get(depth - 1, "Exception")
        above[depth] = name
    return tree


def test_the_drawn_tree_has_every_error_where_it_hangs_and_nothing_else() -> None:
    hangs = {name: kind.__mro__[1].__name__ for name, kind in CLASSES.items()}

    assert drawn_tree() == hangs


@pytest.mark.parametrize("kind", PROGRAM_ERRORS)
def test_a_program_error_keeps_its_evidence_when_prefect_stores_it(
    kind: type[ProgramError],
) -> None:
    error = kind("no solution", program="xia2", directory=Path("/dls/tmp"), log_tail="a\nb")

    stored = pickle.loads(pickle.dumps(error))  # noqa: S301 - as Prefect's results do

    assert (type(stored), stored.args, vars(stored)) == (kind, error.args, vars(error))
    assert stored.evidence == "no solution\nin /dls/tmp\n\na\nb"


@pytest.mark.parametrize("kind", LEAVES)
def test_every_other_error_keeps_its_message_when_prefect_stores_it(
    kind: type[LimsflowError],
) -> None:
    stored = pickle.loads(pickle.dumps(kind("two proposals")))  # noqa: S301

    assert (type(stored), str(stored)) == (kind, "two proposals")


@pytest.mark.parametrize(
    ("error", "evidence"),
    [
        (ProgramError("no solution"), "no solution"),
        (ProgramError("no solution", directory=Path("/here")), "no solution\nin /here"),
        (OutputInvalid("no MTZ", log_tail="last"), "no MTZ\n\nlast"),
    ],
)
def test_evidence_says_only_what_is_known(error: ProgramError, evidence: str) -> None:
    assert error.evidence == evidence

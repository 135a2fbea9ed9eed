"""What an assembly must be like to be typed, genus by genus. Data, not code.

The table is `quality_limits.json` beside this file. A site's own file of the same form is laid
over it: its fields win, what it leaves out stays; its own genera start from the default.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self, TypeGuard

from pydantic import Field, ValidationError, model_validator

from blocks.errors import InvalidRequest
from blocks.genomics.records import Share
from blocks.record import Record

DEFAULT = "default"
GENUS = re.compile(r"[A-Za-z]{1,40}(?:-[A-Za-z]{1,40})?")
PARTS = ("about", "default", "genera")


class QualityLimits(Record):
    """The limits of one genus; a value that equals a limit is good."""

    genus: str = Field(description="`default` for one that has no limits of its own")
    min_length: int = Field(gt=0, description="bp")
    max_length: int = Field(gt=0, description="bp")
    min_n50: int = Field(ge=0, description="bp")
    max_contigs: int = Field(gt=0)
    max_low_quality_share: Share
    min_species_percent: float = Field(ge=0, le=100, description="of the assembly")
    allowed_species: tuple[Annotated[str, Field(pattern=r"\w")], ...] = Field(
        description="genera or species that are counted as right; none: whichever is found most"
    )

    @property
    def is_default(self) -> bool:
        """Whether these are the limits for a genus that has none of its own."""
        return self.genus == DEFAULT

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if self.min_length > self.max_length:
            msg = f"min_length {self.min_length} is larger than max_length {self.max_length}"
            raise ValueError(msg)
        return self


def limits_of(genus: str, site_file: Path | None = None) -> QualityLimits:
    """Return the limits that an assembly of this genus is judged by; upper and lower case alike.

    A genus that another one allows is judged as that one: Shigella as Escherichia. An unknown
    genus has the limits of `default`, which then allow that genus only.

    Raises:
        InvalidRequest: this is no genus, or the site's file is not valid.
    """
    name = genus.strip()
    if not GENUS.fullmatch(name):
        msg = f"{genus[:60]!r} is not the name of a genus; give one word, such as Salmonella"
        raise InvalidRequest(msg)
    table = _table(site_file)
    if found := table.get(name.casefold()) or _allowing(name, table.values()):
        return found
    return table[DEFAULT].model_copy(update={"allowed_species": (name.capitalize(),)})


def known_genera(site_file: Path | None = None) -> list[str]:
    """Return the genera that have limits of their own, sorted.

    Raises:
        InvalidRequest: the site's file is not valid.
    """
    return sorted(one.genus for one in _table(site_file).values() if not one.is_default)


def _allowing(name: str, table: Iterable[QualityLimits]) -> QualityLimits | None:
    for limits in table:
        if name.casefold() in map(str.casefold, limits.allowed_species):
            return limits
    return None


def _table(site_file: Path | None) -> dict[str, QualityLimits]:
    """Return the limits by genus in lower case, `default` among them."""
    ours, default = _entries(Path(str(files("blocks.genomics").joinpath("quality_limits.json"))))
    table = dict(_checked(default, ours, {}, "our table"))
    if site_file is None:
        return table
    theirs, their_default = _entries(site_file)
    return {
        **table,
        **dict(_checked({**default, **their_default}, theirs, table, str(site_file))),
    }


def _checked(
    default: Mapping[str, Any],
    entries: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, QualityLimits],
    path: str,
) -> Iterator[tuple[str, QualityLimits]]:
    yield DEFAULT, _limits({**default, "genus": DEFAULT}, path)
    for genus, entry in entries.items():
        if (before := known.get(genus.casefold())) is not None:
            start = before.model_dump()
        else:
            start = {**default, "allowed_species": [genus], "genus": genus}
        yield genus.casefold(), _limits({**start, **entry}, path)


def _limits(fields: Mapping[str, Any], path: str) -> QualityLimits:
    try:
        return QualityLimits.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ": ".join(map(str, (fields["genus"], *first["loc"])))
        raise _invalid(path, f"{place}: {first['msg']}") from error


def _entries(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return what a file says of its genera, and of the default."""
    content = _read(path)
    default, genera = content.get("default", {}), content.get("genera", {})
    if strange := [key for key in content if key not in PARTS]:
        raise _invalid(str(path), f"{strange[0]!r} is none of {', '.join(PARTS)}")
    if not _is_object(default) or not _is_object(genera):
        raise _invalid(str(path), "'default' and 'genera' are not objects")
    found = dict[str, dict[str, Any]]()
    for genus, entry in genera.items():
        if not GENUS.fullmatch(genus) or genus.casefold() == DEFAULT:
            raise _invalid(str(path), f"{genus[:60]!r} is not the name of a genus")
        if not _is_object(entry) or "genus" in entry:
            raise _invalid(str(path), f"{genus} is not an object of limits")
        found[genus] = entry
    if len({genus.casefold() for genus in found}) < len(found):
        raise _invalid(str(path), "a genus is there twice")
    return found, default


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (OSError, ValueError, RecursionError) as error:
        raise _invalid(str(path), str(error)) from error
    if not _is_object(content):
        raise _invalid(str(path), "it is not a JSON object")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        msg = f"{twice[0]!r} is there twice"
        raise ValueError(msg)
    return dict(pairs)


def _invalid(path: str, fault: str) -> InvalidRequest:
    return InvalidRequest(f"the limits file {path} is not valid: {fault}")

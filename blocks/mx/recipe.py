"""Recipes: which engine a job runs on, with which fixed parameters. Data, not code.

A recipe is `recipes/<name>.json` beside this file, or in a directory of the facility's own, which
is searched first. `{n_processes}`, `{project}` and `{crystal}` in a fixed parameter are filled in.
"""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field

from blocks.errors import InvalidRequest
from blocks.mx.records import DataCollection
from blocks.record import Record

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
VISIT = re.compile(r"[A-Za-z]{2}\d+-\d+")


class Recipe(Record):
    """One way of processing a job."""

    name: str
    engine: Literal["xia2", "dials"]
    program: str = Field(description="what AutoProcProgram.processingPrograms says, to the letter")
    pipeline_id: int | None = Field(description="ProcessingPipeline, None if ISPyB has none")
    directory: str = Field(description="name of the directory that the engine works in")
    fixed: tuple[str, ...] = Field(description="key=value, in order, before the images")
    about: str = ""


def load_recipe(name: str, site_directory: Path | None = None) -> Recipe:
    """Return the recipe of this name; the facility's own directory wins.

    Raises:
        InvalidRequest: there is no such recipe, or its file is not valid.
    """
    if not NAME.fullmatch(name):
        msg = f"{name!r} is not a recipe name"
        raise InvalidRequest(msg)
    ours = Path(str(files("blocks.mx").joinpath("recipes")))
    for folder in filter(None, (site_directory, ours)):
        path = folder / f"{name}.json"
        if path.is_file():
            return _read(path, name)
    msg = f"unknown recipe {name!r}; known: {', '.join(recipe_names(site_directory))}"
    raise InvalidRequest(msg)


def recipe_names(site_directory: Path | None = None) -> list[str]:
    """Return the names of all recipes, sorted."""
    ours = Path(str(files("blocks.mx").joinpath("recipes")))
    folders = filter(None, (site_directory, ours))
    return sorted({path.stem for folder in folders for path in folder.glob("*.json")})


def project_name(collection: DataCollection) -> str:
    """Return xia2's project: the visit with `v` for the hyphen (cm14451v4), or AUTOMATIC."""
    visits = (part for part in Path(collection.image_directory).parts if VISIT.fullmatch(part))
    return next(visits, "AUTOMATIC").replace("-", "v")


def crystal_name(collection: DataCollection) -> str:
    """Return xia2's crystal: `x`, then the letters and digits of prefix and number; or DEFAULT."""
    if not collection.image_prefix:
        return "DEFAULT"
    return "x" + re.sub(r"[^A-Za-z0-9]", "", f"{collection.image_prefix}{collection.number}")


def fixed_arguments(recipe: Recipe, collection: DataCollection, n_processes: int) -> list[str]:
    """Return the recipe's fixed parameters with its placeholders filled in."""
    values = {
        "{n_processes}": str(n_processes),
        "{project}": project_name(collection),
        "{crystal}": crystal_name(collection),
    }
    filled = list(recipe.fixed)
    for placeholder, value in values.items():
        filled = [argument.replace(placeholder, value) for argument in filled]
    return filled


def _read(path: Path, name: str) -> Recipe:
    try:
        return Recipe(name=name, **json.loads(path.read_text()))
    except (OSError, TypeError, ValueError) as error:
        msg = f"the recipe file {path} is not valid: {error}"
        raise InvalidRequest(msg) from error

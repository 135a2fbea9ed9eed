"""What every record has in common, and the unit types of their fields."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """A fact that crosses borders: frozen, hashable, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Angstrom = Annotated[float, Field(gt=0, description="Å")]
Degrees = Annotated[float, Field(gt=0, lt=180, description="degrees")]
RowId = Annotated[int, Field(ge=1, description="primary key in ISPyB")]

"""What every group of settings has in common."""

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

PositiveFloat: TypeAlias = Annotated[float, Field(gt=0)]
NonNegativeFloat: TypeAlias = Annotated[float, Field(ge=0)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """A group of settings: frozen, and without any key that it does not declare."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def arguments(self) -> dict[str, Any]:
        """Return the settings without ``name``: the constructor arguments of the class it names."""
        return {key: value for key, value in self if key != "name"}

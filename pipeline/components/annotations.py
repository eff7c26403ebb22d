"""TFX's function components in a form that type checkers understand.

To a checker ``InputArtifact[Model]`` is a `Model`, which is what the function receives; at run time it is TFX's marker.
Write ``@component()`` with parentheses.
"""

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import apache_beam as beam

    T = TypeVar("T")
    InputArtifact = Annotated[T, "input"]
    OptionalInputArtifact = Annotated[T | None, "input"]
    OutputArtifact = Annotated[T, "output"]
    Parameter = Annotated[T, "parameter"]
    BeamPipeline = Annotated[beam.Pipeline | None, "made by TFX from the pipeline's Beam arguments"]

    def component(*, use_beam: bool = False) -> Callable[[Callable[..., None]], Any]:
        """Makes a TFX component of a function."""

else:
    import apache_beam as beam
    from tfx.dsl.component.experimental.annotations import (
        BeamComponentParameter,
        InputArtifact,
        OutputArtifact,
        Parameter,
    )
    from tfx.dsl.component.experimental.decorators import component

    OptionalInputArtifact = InputArtifact
    BeamPipeline = BeamComponentParameter[beam.Pipeline]

__all__ = ["BeamPipeline", "InputArtifact", "OptionalInputArtifact", "OutputArtifact", "Parameter", "component"]

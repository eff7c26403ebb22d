"""TFX's function components in a form that type checkers understand.

To a checker ``InputArtifact[Model]`` is a `Model`, which is what the function receives; at run time it is TFX's marker.
Write ``@component()`` with parentheses.
"""

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import apache_beam as beam

    T = TypeVar("T")
    InputArtifact = Annotated[T, "input"]
    OptionalInputArtifact = Annotated[T | None, "input"]
    OutputArtifact = Annotated[T, "output"]
    Parameter = Annotated[T, "parameter"]
    BeamPipeline = Annotated[beam.Pipeline | None, "made by TFX from the pipeline's Beam arguments"]

    def component(
        *, use_beam: bool = False, parts: Mapping[str, Sequence[str] | None] | None = None
    ) -> Callable[[Callable[..., None]], Any]:
        """Makes a TFX component of a function; without Beam, its artifacts are folders of this disk, wherever they lie.

        Args:
            use_beam: whether it takes a pipeline of Beam's.
            parts: by an input's name, folders of it that suffice (`pipeline.components.local_artifacts`).
        """

else:
    import apache_beam as beam
    from tfx.dsl.component.experimental import decorators
    from tfx.dsl.component.experimental.annotations import (
        BeamComponentParameter,
        InputArtifact,
        OutputArtifact,
        Parameter,
    )

    from pipeline.components.local_artifacts import at_hand

    OptionalInputArtifact = InputArtifact
    BeamPipeline = BeamComponentParameter[beam.Pipeline]

    def component(*, use_beam=False, parts=None):
        """See above."""

        def of(function):
            made = decorators.component(use_beam=use_beam)(function)
            if not use_beam:
                executor = made.EXECUTOR_SPEC.executor_class
                executor.Do = at_hand(executor.Do, parts)
            return made

        return of


__all__ = ["BeamPipeline", "InputArtifact", "OptionalInputArtifact", "OutputArtifact", "Parameter", "component"]

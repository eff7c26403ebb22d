"""Which tasks share which embedding tables."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from features.frozen import BareKind, Frozen


class SharedEmbeddings(Frozen):
    """All tasks read the same vectors."""

    kind: Literal["shared"] = "shared"


class StemEmbeddings(Frozen):
    """A shared vector and one a task for every token (Su et al., STEM, AAAI 2024).

    A task's experts read its own vectors and shared experts the shared ones; a task hears all experts, but its gradient
    stops at those of other tasks (all-forward, task-specific-backward). A head that composes along a chain (esmm, escm2, aitm) lets
    a task's loss through to its ancestors' vectors all the same, as their predictions are part of its own. The groups of vectors, one a task and the shared one,
    share no weights below the experts either: target attention and interactions are each group's own. Numbers are encoded once.
    """

    kind: Literal["stem"] = "stem"


EmbeddingsConfig = Annotated[SharedEmbeddings | StemEmbeddings, pydantic.Field(discriminator="kind"), BareKind()]

"""The kinds of features: how a column becomes an input of a model."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, get_args

import pydantic

from features.frozen import BareKind, Frozen, SpecError


class Vocabulary(Frozen):
    """How tokens become rows of an embedding table.

    Row 0 is *missing or padding*, rows 1..V the V kept tokens (most frequent first), the last `oov_buckets`
    rows hashed out-of-vocabulary tokens. The table has ``1 + V + oov_buckets`` rows.
    """

    min_count: int = pydantic.Field(default=1, ge=1)
    """Tokens that occur less often in the training split are left to the buckets: a row of their own would learn noise."""
    top_k: int | None = pydantic.Field(default=None, ge=1)
    """At most so many tokens are kept, the most frequent."""
    counted_tokens: int | None = pydantic.Field(default=None, ge=1)
    """Counts in bounded memory: where more than twice as many tokens were seen, the most frequent so many go on being counted. Up to
    there counts are exact; beyond, a count is at most ``n / counted_tokens`` too low, of n values of the column, and Transform tells how
    much it was. At least `top_k`, which it needs; several times as many keep the order right. null: every count is exact."""
    oov_buckets: int = pydantic.Field(default=1, ge=1)
    """Rows that rare and unknown tokens share, each by its hash."""
    hash_buckets: int | None = pydantic.Field(default=None, ge=1)
    """No vocabulary: every token's row is that of its hash, one of so many behind row 0. Nothing is counted, a new token has a row at
    once, and tokens that fall into one row share it (Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML
    2009). Of V tokens in N rows, a share of ``1 - exp(-V / N)`` meets another."""

    @pydantic.model_validator(mode="after")
    def _check_counted_tokens(self) -> Vocabulary:
        if (
            self.counted_tokens is not None
            and (self.top_k is None or self.counted_tokens < self.top_k)
            and not self.hash_buckets
        ):
            raise SpecError(
                f"`counted_tokens: {self.counted_tokens}` finds the most frequent tokens; got top_k {self.top_k}; allowed: a `top_k` of at most "
                f"{self.counted_tokens}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _check_hashed(self) -> Vocabulary:
        counted = ("min_count", "top_k", "counted_tokens", "oov_buckets")
        # By value: a spec that was saved as JSON gives every key, defaults included.
        given = [key for key in counted if getattr(self, key) != type(self).model_fields[key].default]
        if self.hash_buckets is not None and given:
            raise SpecError(
                f"`{'` and `'.join(given)}` beside `hash_buckets: {self.hash_buckets}` would go unused, as no token is counted; allowed: "
                "either"
            )
        return self


class IdVocabulary(Vocabulary):
    """A vocabulary of identifiers: most are rare, and new ones come every day."""

    min_count: int = pydantic.Field(default=2, ge=1)
    """As in every vocabulary. By default an identifier that occurs once shares a bucket's row."""
    oov_buckets: int = pydantic.Field(default=8, ge=1)
    """As in every vocabulary."""


class Reads(Frozen):
    """A feature that reads a column."""

    column: str | None = None
    """The column read; by default the one with the feature's own name."""


class Embedded(Frozen):
    """A feature that looks up rows of an embedding table."""

    dim: int | None = pydantic.Field(default=None, ge=1)
    """Embedding width; by default the model's ``embedding_dim``."""


class Tokens(Reads, Embedded):
    """A feature whose values are tokens of a vocabulary."""

    vocabulary: Vocabulary = Vocabulary()
    """Which tokens get rows of their own."""
    vocabulary_of: str | None = None
    """Another feature whose vocabulary and embedding table this one shares."""

    @pydantic.model_validator(mode="after")
    def _check_shared(self) -> Tokens:
        # By value: a spec that was saved as JSON gives every key, defaults included.
        given = [key for key in ("dim", "vocabulary") if getattr(self, key) != type(self).model_fields[key].default]
        if self.vocabulary_of is not None and given:
            raise SpecError(
                f"`{'` and `'.join(given)}` beside `vocabulary_of: {self.vocabulary_of}` would go unused, as the table is "
                f"shared; give them to '{self.vocabulary_of}', allowed here: neither of dim, vocabulary"
            )
        return self


class Id(Tokens):
    """A high-cardinality identifier (user, item, author): int64 or string."""

    kind: Literal["id"] = "id"
    vocabulary: IdVocabulary = IdVocabulary()
    """Which tokens get rows of their own."""
    frequency_rank: bool = False
    """Adds a second input that says how frequent the token is: ``1 - log(r) / log(1 + V)`` for the r-th most frequent of the
    vocabulary's V tokens (1 for the first), 0 for rarer and unknown ones and where the value is missing. An embedding learns
    that of each token by itself, trees read it off the order of indices."""

    @pydantic.model_validator(mode="after")
    def _check_ranked(self) -> Id:
        if self.frequency_rank and self.vocabulary.hash_buckets is not None:
            raise SpecError("`frequency_rank` needs counted tokens, and `hash_buckets` counts none; allowed: either")
        return self


def frequency_input(feature: str) -> str:
    """Name of the input that says how frequent the token of an `Id` is."""
    return f"{feature}_frequency_rank"


class Categorical(Tokens):
    """A low-cardinality category: int64 or string. `values` closes the domain: another value is an anomaly."""

    kind: Literal["categorical"] = "categorical"
    values: tuple[str, ...] | tuple[int, ...] | None = None
    """All that may occur; null: any."""


class Bag(Tokens):
    """A list without order (tags): at most `max_length` tokens, pooled."""

    kind: Literal["bag"] = "bag"
    max_length: int = pydantic.Field(default=8, ge=1)
    """Tokens of a row that count: the first ones."""
    pooling: Literal["mean", "sum", "sqrtn"] = "mean"
    """How the tokens' vectors become one; ``sqrtn``: their sum over the root of their number."""


class Sequence(Tokens):
    """An ordered list (watch history): the last or first `max_length` tokens, padded with row 0, pooled."""

    kind: Literal["sequence"] = "sequence"
    max_length: int = pydantic.Field(default=50, ge=1)
    """Tokens of a row that count."""
    keep: Literal["first", "last"] = "last"
    """Which end of a longer list stays."""
    pooling: Literal["mean", "sum", "sqrtn", "din_attention"] = "mean"
    """``din_attention``: a sum in which each token weighs as much as it says about the candidate (Zhou et al., Deep
    Interest Network, KDD 2018)."""
    target: str | None = None
    """With ``din_attention``: the candidate's feature, with which tokens are compared; by default that of `vocabulary_of`."""

    @pydantic.model_validator(mode="after")
    def _check_target(self) -> Sequence:
        if self.pooling != "din_attention" and self.target is not None:
            raise SpecError(
                f"`target: {self.target}` would go unused with `pooling: {self.pooling}`; allowed: `target` with "
                "`pooling: din_attention` only"
            )
        if self.pooling == "din_attention" and self.attends_to() is None:
            raise SpecError(
                "`pooling: din_attention` compares tokens with the candidate; name its feature by `target`, or by "
                "`vocabulary_of` if they share a vocabulary; got neither"
            )
        return self

    def attends_to(self) -> str | None:
        """The feature with which tokens are compared; None without attention."""
        return (self.target or self.vocabulary_of) if self.pooling == "din_attention" else None


class Numeric(Reads):
    """A number, scaled with what the training split shows; `scaling` says what stands for a missing one."""

    kind: Literal["numeric"] = "numeric"
    scaling: Literal["none", "zscore", "log_zscore", "quantile"] = "zscore"
    """``none``: as it is; missing becomes the mean. ``zscore``, and ``log_zscore``, that of sign(x) log(1 + |x|): missing
    becomes 0, the mean. ``quantile``: position among the training quantiles, in [0, 1]; missing becomes 0.5, the median."""
    missing_indicator: bool = False
    """Adds a second input that is 1 where the value is missing."""


def missing_input(feature: str) -> str:
    """Name of the input that is 1 where a numeric feature is missing."""
    return f"{feature}_missing"


class Bucketized(Reads, Embedded):
    """A number cut into buckets, each an embedding row; row 0 is missing."""

    kind: Literal["bucketized"] = "bucketized"
    buckets: int = pydantic.Field(default=16, ge=2)
    """Quantile buckets of the training split, unless `boundaries` are given."""
    boundaries: tuple[float, ...] | None = None
    """Where buckets meet, increasing; null: at quantiles."""

    @pydantic.model_validator(mode="after")
    def _check_boundaries(self) -> Bucketized:
        if self.boundaries is not None and any(low >= high for low, high in pairwise(self.boundaries)):
            raise SpecError(f"boundaries must increase; got {list(self.boundaries)}")
        return self


class Clock(Reads, Embedded):
    """What the impression's time says of day and week, by the dataset's clock (``time``: unit and offset from UTC). Row 0 is missing."""

    kind: Literal["clock"] = "clock"
    part: Literal["hour", "weekday", "hour_of_week"] = "hour"
    """``hour``: 24 rows. ``weekday``: 7, from Monday on. ``hour_of_week``: 168."""

    @property
    def rows(self) -> int:
        """Behind row 0."""
        return {"hour": 24, "weekday": 7, "hour_of_week": 168}[self.part]


class Cross(Embedded):
    """Several features at once, such as the tab and the hour: each combination of their values has the row of its hash. Row 0 where
    one of them is missing."""

    kind: Literal["cross"] = "cross"
    of: Annotated[tuple[str, ...], pydantic.Field(min_length=2, max_length=4)]
    """Two to four other features of kind id, categorical, bucketized or clock."""
    hash_buckets: int = pydantic.Field(default=10_000, ge=1)
    """Rows behind row 0; combinations that fall into one share it."""

    @pydantic.model_validator(mode="after")
    def _check_parts(self) -> Cross:
        if len(set(self.of)) < len(self.of):
            raise SpecError(f"a cross is of features that differ; got {', '.join(self.of)}")
        return self


class Pretrained(Reads):
    """A vector that somebody else learned, by an id: a row of a table that the file holds. The exported model carries it."""

    kind: Literal["pretrained"] = "pretrained"
    vectors: str
    """File of the vectors, relative to ``data.path`` or of a store: Parquet with a column of ids and one of lists of numbers, or npz with two arrays."""
    dimension: int = pydantic.Field(ge=1)
    """Numbers of each vector in the file; one of another length stops the run."""
    id_column: str = "id"
    """Of the file: int64 or string, as the column that the feature reads; each id once."""
    vector_column: str = "vector"
    """Of the file."""
    trainable: bool = False
    """Whether training moves the vectors; by default they stay what they are."""
    pca: int | None = pydantic.Field(default=None, ge=1)
    """Principal components to which the centred vectors are reduced; null: they are taken as they are."""
    missing: Literal["zero", "mean"] = "zero"
    """What an id without a vector has: zeros, or the mean of all vectors (0 after `pca`)."""

    @pydantic.model_validator(mode="after")
    def _check_width(self) -> Pretrained:
        if self.pca is not None and self.pca > self.dimension:
            raise SpecError(
                f"`pca: {self.pca}` of vectors of {self.dimension} numbers; allowed: at most {self.dimension}"
            )
        return self

    @property
    def width(self) -> int:
        """Numbers of the vector that the model reads."""
        return self.pca or self.dimension


AnyFeature = Id | Categorical | Bag | Sequence | Numeric | Bucketized | Clock | Cross | Pretrained
FEATURE_KINDS: tuple[str, ...] = tuple(cls.model_fields["kind"].default for cls in get_args(AnyFeature))


Feature = Annotated[AnyFeature, pydantic.Field(discriminator="kind"), BareKind()]
"""Any of the kinds; a bare kind stands for that kind with its defaults."""

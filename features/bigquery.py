"""A table of BigQuery, or what a query gives, as it was at one moment: rows that a rerun reads again."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import pydantic

from features.errors import ConfigError
from features.frozen import Frozen, SpecError

_DAY = re.compile(r"\{day(?::([^{}]*))?\}")
_SNAPSHOT = "{snapshot}"
_TABLE = re.compile(r"[^./`\s]+(?:\.[^./`\s]+:[^./`\s]+)?\.[^./`\s]+\.[^./`\s]+")
_SERVER = re.compile(r"[^/\s]+:[0-9]+")


class BigQueryPart(NamedTuple):
    """What one read session reads.

    Attributes:
        name: in row ids, manifests and dead letters; the same in every run.
        table: ``project.dataset.table``; empty where a query makes it.
        where: the row restriction; may be empty.
        query: SQL whose result is read; empty where there is a table.
    """

    name: str
    table: str
    where: str
    query: str


class BigQueryEmulator(Frozen):
    """A server in Google's place, asked without TLS and without credentials."""

    storage: str
    """Of the Storage Read API (gRPC): ``HOST:PORT``."""
    jobs: str | None = None
    """Of the REST API, which a query needs: ``http://HOST:PORT``."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> BigQueryEmulator:
        if not _SERVER.fullmatch(self.storage):
            raise SpecError(f"emulator.storage '{self.storage}' is no gRPC server; allowed: HOST:PORT")
        if self.jobs is not None and not self.jobs.startswith("http://"):
            raise SpecError(f"emulator.jobs '{self.jobs}' is no REST server; allowed: http://HOST:PORT")
        return self


class BigQuerySource(Frozen):
    """Rows of a table, or of a query's result, by the Storage Read API. Needs the extra ``feedrank[bigquery]``."""

    SHORTHAND: ClassVar[str | None] = "table"

    table: str | None = None
    """``PROJECT.DATASET.TABLE``. ``{day}`` stands for each day of a split by time, ``{day:%Y%m%d}`` writes it as 20261129: other days are
    not read, and a day without a row stops the run."""
    query: str | None = None
    """In the place of `table`: a SELECT of GoogleSQL, run when ingest begins. ``{day}`` as in `table`: a job a day; ``{snapshot}`` is
    `snapshot`: ``FOR SYSTEM_TIME AS OF TIMESTAMP '{snapshot}'``."""
    where: str | None = None
    """Of a table, the rows that are read: a condition of GoogleSQL without aggregates. It may name ``{day}``: ``dt = '{day}'``."""
    snapshot: pydantic.AwareDatetime | None = None
    """The table is read as it was then, at most its time travel ago (seven days, unless the data set says otherwise). null: when the run
    begins; its saved configuration says when, so that a rerun of that reads the same rows."""
    project: str | None = None
    """The project that pays; null: the table's. A query must name it."""
    location: str | None = None
    """Of a query's job, such as ``EU``; null: as BigQuery finds out."""
    max_gigabytes_billed: pydantic.PositiveInt | None = None
    """A query that would bill more (in 10**9 bytes) fails, without a charge."""
    streams: pydantic.NonNegativeInt = 0
    """Of each session at most, which workers read apart from each other; 0: as many as BigQuery holds reasonable."""
    patience_s: pydantic.PositiveInt = 300
    """Seconds for which sessions and streams are asked for again where the server does not answer. Jobs are by Google's own rule: ten minutes."""
    emulator: BigQueryEmulator | None = None
    """Another server in Google's place."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> BigQuerySource:
        if bool(self.table) == bool(self.query):
            raise SpecError("bigquery has `table` or `query`; allowed: one of them")
        if self.query:
            self._check_query()
        elif self.location is not None or self.max_gigabytes_billed is not None:
            raise SpecError(
                "bigquery.location and bigquery.max_gigabytes_billed are a query's; allowed: without them, a table"
            )
        for part in self.parts([datetime.date(2026, 11, 29)]):
            if part.table and not _TABLE.fullmatch(part.table):
                raise SpecError(f"bigquery.table '{self.table}' is no table; allowed: PROJECT.DATASET.TABLE")
        return self

    def _check_query(self) -> None:
        if self.where is not None:
            raise SpecError("bigquery.where restricts a table; allowed in a query: WHERE, in its text")
        if self.project is None:
            raise SpecError("bigquery.query needs `project`, which pays for it")
        if self.emulator is not None and self.emulator.jobs is None:
            raise SpecError("bigquery.query needs `emulator.jobs`, where it is run: http://HOST:PORT")

    @property
    def by_day(self) -> bool:
        """Whether `table`, `where` or `query` name a day."""
        return any(_DAY.search(text) for text in (self.table, self.where, self.query) if text)

    @property
    def payer(self) -> str:
        """The project in which sessions are opened."""
        return self.project or (self.table or "").rsplit(".", 2)[0]

    @property
    def moment(self) -> datetime.datetime:
        """When it is read as of.

        Raises:
            ConfigError: if no run has fixed it yet.
        """
        if self.snapshot is None:
            raise ConfigError(
                f"BigQuery's {self.table or 'query'} has no `snapshot` yet, the moment as of which it is read; allowed here: what `feedrank run` "
                "saved, or `snapshot`"
            )
        return self.snapshot

    def parts(self, days: Sequence[datetime.date]) -> list[BigQueryPart]:
        """What is read: of a source by day a part for each day, else one."""
        shown = "query" if self.table is None else _DAY.sub("DAY", self.table)
        return [
            BigQueryPart(
                f"bigquery://{shown}" + ("" if day is None else f"/{day}"),
                *(self._filled(text, day) for text in (self.table, self.where, self.query)),
            )
            for day in (days if self.by_day else [None])
        ]

    def _filled(self, text: str | None, day: datetime.date | None) -> str:
        """Other braces, of a pattern or of JSON in SQL, stay as they are."""
        text = text or ""
        if day is not None:
            text = _DAY.sub(lambda found: format(day, found[1] or ""), text)
        # When the spec is checked, nobody may know the moment yet; who reads it asks for `moment` first.
        return text if self.snapshot is None or not self.query else text.replace(_SNAPSHOT, self.snapshot.isoformat())

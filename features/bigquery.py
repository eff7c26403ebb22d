"""A table of BigQuery, or what a query gives, as it was at one moment: rows that a rerun reads again."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import pydantic

from features.errors import ConfigError
from features.frozen import Frozen, SpecError
from features.paths import Remote, check_readable, remote

_DAY = re.compile(r"\{day(?::([^{}]*))?\}")
_SNAPSHOT = "{snapshot}"
_TABLE = re.compile(r"[^./`\s]+(?:\.[^./`\s]+:[^./`\s]+)?\.[^./`\s]+\.[^./`\s]+")
_SERVER = re.compile(r"[^/\s]+:[0-9]+")
_PLAIN = re.compile(r"[^*?\[\]{}'\"\\\s]*")
_OF_SESSIONS = ("streams", "patience_s")


class BigQueryPart(NamedTuple):
    """What one read session or export reads.

    Attributes:
        name: in row ids, manifests and dead letters; the same in every run.
        table: ``project.dataset.table``; empty where a query makes it.
        where: the row restriction; may be empty.
        query: SQL whose result is read; empty where there is a table.
        day: as it is written in `name`; empty of a source that is not by day.
    """

    name: str
    table: str
    where: str
    query: str
    day: str


class BigQueryEmulator(Frozen):
    """A server in Google's place, asked without TLS and without credentials."""

    storage: str | None = None
    """Of the Storage Read API (gRPC), which all but an export needs: ``HOST:PORT``."""
    jobs: str | None = None
    """Of the REST API, which a query and an export need: ``http://HOST:PORT``."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> BigQueryEmulator:
        if self.storage is not None and not _SERVER.fullmatch(self.storage):
            raise SpecError(f"emulator.storage '{self.storage}' is no gRPC server; allowed: HOST:PORT")
        if self.jobs is not None and not self.jobs.startswith("http://"):
            raise SpecError(f"emulator.jobs '{self.jobs}' is no REST server; allowed: http://HOST:PORT")
        return self


class BigQueryExport(Frozen):
    """Parquet files that BigQuery writes into Cloud Storage, which are read in the place of read sessions."""

    SHORTHAND: ClassVar[str | None] = "folder"

    folder: str
    """``gs://BUCKET/FOLDER``. Each time that ingest runs, BigQuery writes into a new folder below it, of a source by day into one a day in
    there."""
    keep: bool | None = None
    """false: the files are removed when ingest has read them all. Those of a run that fails stay. null: they are kept, of a log with personal
    columns nobody knows."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> BigQueryExport:
        place = remote(self.folder)
        if place is None or place.scheme != "gs":
            raise SpecError(
                f"bigquery.export '{self.folder}' is no folder of Cloud Storage; allowed: gs://BUCKET/FOLDER"
            )
        try:
            check_readable("bigquery.export", self.folder)
        except ConfigError as error:
            raise SpecError(str(error)) from error
        folders = place.key.rstrip("/").split("/") if place.key else []
        if not _PLAIN.fullmatch(place.authority + place.key) or {"", ".", ".."} & {*folders}:
            raise SpecError(
                f"bigquery.export '{self.folder}' is no plain folder; allowed: gs://BUCKET/FOLDER without blanks, quotes, wildcards, "
                "braces, `//` or `..` (a folder a run, and of a source by day one a day, come by themselves)"
            )
        return self

    @property
    def is_kept(self) -> bool:
        """Whether the files stay."""
        return self.keep is not False

    def below(self, *names: str) -> Remote:
        """A folder or file below `folder`, with its options."""
        place = remote(self.folder)
        assert place is not None
        return place.below(*names)


class BigQuerySource(Frozen):
    """Rows of a table, or of a query's result, by the Storage Read API or an export. Needs the extra ``feedrank[bigquery]``."""

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
    export: BigQueryExport | None = None
    """``gs://BUCKET/FOLDER``: no read session is opened; BigQuery exports the rows into a new folder below it, as Parquet, and these files are
    read. They are kept, unless it is ``{folder: gs://BUCKET/FOLDER, keep: false}``."""
    location: str | None = None
    """Of the job of a query or an export, such as ``EU``; null: as BigQuery finds out."""
    max_gigabytes_billed: pydantic.PositiveInt | None = None
    """A query or export that would bill more (in 10**9 bytes) fails, without a charge."""
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
        elif self.export is None and (self.location is not None or self.max_gigabytes_billed is not None):
            raise SpecError(
                "bigquery.location and bigquery.max_gigabytes_billed are a query's or an export's; allowed: without them, a table"
            )
        self._check_servers()
        for part in self.parts([datetime.date(2026, 11, 29)]):
            if part.table and not _TABLE.fullmatch(part.table):
                raise SpecError(f"bigquery.table '{self.table}' is no table; allowed: PROJECT.DATASET.TABLE")
        return self

    def _check_query(self) -> None:
        if self.where is not None:
            raise SpecError("bigquery.where restricts a table; allowed in a query: WHERE, in its text")
        if self.project is None:
            raise SpecError("bigquery.query needs `project`, which pays for it")

    def _check_servers(self) -> None:
        """Whether what is asked is there, and nothing is said of what is not."""
        told = [key for key in _OF_SESSIONS if getattr(self, key) != type(self).model_fields[key].default]
        if self.export is not None and told:
            raise SpecError(f"bigquery.{told[0]} is of read sessions, and an export opens none; allowed: without it")
        what = "export" if self.export is not None else "query" if self.query else ""
        if self.emulator is not None and what and self.emulator.jobs is None:
            raise SpecError(f"bigquery.{what} needs `emulator.jobs`, where it is run: http://HOST:PORT")
        if self.emulator is not None and self.export is None and self.emulator.storage is None:
            raise SpecError("bigquery without `export` needs `emulator.storage`, where read sessions are: HOST:PORT")

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
                self._filled(self.table, day),
                self._filled(self.where, day),
                self._filled(self.query, day),
                "" if day is None else str(day),
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

"""Peak memory and speed of ingest for logs of growing size: ``python -m benchmarks.ingest_memory --rows 1000000 10000000``.

Each size is synthesised by one process and ingested by another, whose peak RSS is taken from the operating system. The
ratio of the peaks says whether memory grows with the rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from features.catalog.synthetic import dataset_for
from features.synthesis import SynthesisConfig, synthesize


def _config(rows: int, form: str) -> SynthesisConfig:
    return SynthesisConfig(rows=rows, days=3, format=form, rows_per_file=rows)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _ingest(rows: int, form: str, folder: Path) -> dict[str, Any]:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipeline.components.ingest import Folders, ingest
    from pipeline.config import DataConfig

    imported = _peak_mb()
    folders = Folders(*[str(folder / "out" / name / "1") for name in ("examples", "quarantine", "manifest", "tables")])
    started = time.perf_counter()
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))
    manifest = ingest(dataset_for(_config(rows, form)), DataConfig(path=str(folder / "data")), folders, pipeline)
    seconds = time.perf_counter() - started
    read = manifest["rows_read"]
    return {
        "rows": read,
        "seconds": seconds,
        "imported_mb": imported,
        "peak_mb": _peak_mb(),
        "rows_out": manifest["rows_out"],
    }


def _child(rows: int, form: str, folder: Path, step: str) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.ingest_memory",
        "--rows",
        str(rows),
        "--format",
        form,
        "--folder",
        str(folder),
    ]
    done = subprocess.run([*command, "--step", step], check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1])) if step == "ingest" else {}


def main() -> None:
    """Measures, or is one of the measured processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv")
    parser.add_argument("--folder", type=Path, help="where to put the logs; a temporary folder by default")
    parser.add_argument("--step", choices=("synthesize", "ingest"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step == "synthesize":
        synthesize(_config(arguments.rows[0], arguments.format), arguments.folder / "data")
        return
    if arguments.step == "ingest":
        print(json.dumps(_ingest(arguments.rows[0], arguments.format, arguments.folder)))
        return
    peaks = []
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            _child(rows, arguments.format, Path(folder), "synthesize")
            found = _child(rows, arguments.format, Path(folder), "ingest")
        peaks.append(found["peak_mb"])
        speed = found["rows"] / found["seconds"]
        print(
            f"{found['rows']:>12,} rows  peak {found['peak_mb']:6.0f} MB (imports alone {found['imported_mb']:.0f} MB)  "
            f"{found['seconds']:6.1f} s  {speed:>9,.0f} rows/s",
            flush=True,
        )
    print(f"peak at {arguments.rows[-1]:,} rows / peak at {arguments.rows[0]:,} rows = {peaks[-1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()

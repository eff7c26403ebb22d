"""The rooms, who may see whom, and where heavy libraries live."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture import source

MAY_IMPORT = {
    "features": {"features"},
    "models": {"models", "features"},
    "serving": {"serving", "features"},
    "pipeline": {"pipeline", "models", "serving", "features"},
}
AT_HOME = {
    "tfx": ("pipeline.",),
    "apache_beam": ("pipeline.components",),
    # BigQuery's client is a log's reader, as Kafka's is: it loads Google's libraries when a log lies there, and no other module does.
    "google.cloud": ("pipeline.runners", "features.logs.bigquery_client"),
    "kfp": ("pipeline.runners",),
    "boto3": ("pipeline.runners",),
    "azure": ("pipeline.runners",),
}
"""Library: the beginnings of the modules that may import it, at load or later."""
HEAVY = ("tensorflow", "tf_keras", "keras", "tfx", "tfx_bsl", "apache_beam", "ml_metadata", "kfp")
LIGHT = (
    "features.spec",
    "features.layout",
    "features.logs",
    "features.catalog",
    "features.synthesis",
    "models.config",
    "models.settings",
    "models.metrics",
    "pipeline.config",
    "pipeline.loading",
    "pipeline.cli",
    "pipeline.commands",
    "serving.client",
)
"""These, and what lies in them, load nothing heavy."""


def is_or_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_rooms_keep_their_arrows() -> None:
    wrong = [
        f"{module.path.relative_to(source.ROOT)}:{imported.line} imports {imported.name}"
        for module in source.modules().values()
        for imported in module.imports
        if (room := imported.name.partition(".")[0]) in source.ROOMS and room not in MAY_IMPORT[module.room]
    ]
    assert not wrong


def test_imports_are_absolute_and_nobody_imports_tests() -> None:
    wrong = [
        f"{module.path.relative_to(source.ROOT)}:{imported.line} imports {imported.name}"
        for module in source.modules().values()
        for imported in module.imports
        if imported.name.startswith(".") or is_or_in(imported.name, "tests")
    ]
    assert not wrong


@pytest.mark.parametrize("library", AT_HOME)
def test_libraries_stay_at_home(library: str) -> None:
    wrong = [
        f"{module.path.relative_to(source.ROOT)}:{imported.line} imports {imported.name}"
        for module in source.modules().values()
        for imported in module.imports
        if is_or_in(imported.name, library) and not module.name.startswith(AT_HOME[library])
    ]
    assert not wrong


def light_modules() -> list[str]:
    return [name for name in source.modules() if any(is_or_in(name, light) for light in LIGHT)]


@pytest.mark.parametrize("name", light_modules())
def test_light_modules_load_nothing_heavy(name: str) -> None:
    wrong = [
        f"{module.path.relative_to(source.ROOT)}:{imported.line} imports {imported.name}"
        for module in map(source.modules().__getitem__, sorted(source.loaded_with(name)))
        for imported in module.imports
        if imported.at_load and imported.name.partition(".")[0].startswith(HEAVY)
    ]
    assert not wrong


def test_the_command_line_answers_without_heavy_libraries() -> None:
    program = (
        "import sys; sys.argv = ['feedrank', '--help']\n"
        "from pipeline.cli import main\n"
        "try: main()\n"
        f"finally: print('LOADED', sorted(set(sys.modules) & {{*{(*HEAVY, 'pyarrow', 'numpy', 'pydantic')!r}}}))"
    )
    asked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=source.ROOT, check=True)
    assert "Usage" in asked.stdout
    assert asked.stdout.splitlines()[-1] == "LOADED []"


def test_no_import_cycles() -> None:
    """Tarjan is not needed: a module that loads itself through another lies on a cycle."""
    # A package and its modules load each other by nature: only edges that imports state count.
    edges = {
        name: {ours for i in module.imports if i.at_load and (ours := source.ours(i.name)) not in (None, name)}
        for name, module in source.modules().items()
    }

    def reachable(start: str) -> set[str]:
        reached: set[str] = set()
        waiting = list(edges[start])
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += edges[name]
        return reached

    assert not [name for name in edges if name in reachable(name)]

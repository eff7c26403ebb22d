"""For Beam's workers: ``--setup_file ./setup.py``. All metadata is in pyproject.toml.

Beam builds a source distribution and installs it on each worker without extras. A worker runs pipeline code, so in a source
distribution the ``pipeline`` extra is part of the dependencies; a wheel stays light.
"""

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist


class WorkerSdist(sdist):
    """Writes the ``pipeline`` extra among the dependencies of the package that a worker installs."""

    def make_release_tree(self, base_dir, files):
        """Copies the files, then rewrites the copy of pyproject.toml."""
        super().make_release_tree(base_dir, files)
        project = Path(base_dir) / "pyproject.toml"
        text = Path("pyproject.toml").read_text(encoding="utf-8")
        extra = re.search(r"^pipeline = \[\n(.*?)^\]", text, flags=re.MULTILINE | re.DOTALL)
        if extra is None:
            raise RuntimeError("pyproject.toml has no extra 'pipeline' for Beam's workers to install")
        project.unlink()  # It may be a hard link to the original.
        project.write_text(text.replace("\ndependencies = [\n", "\ndependencies = [\n" + extra[1], 1), encoding="utf-8")


setup(cmdclass={"sdist": WorkerSdist})

"""Links between the project's own documents lead somewhere, headings included."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])


def _anchors(document: Path) -> set[str]:
    """Of headings, as GitHub makes them: lower case, blanks as hyphens, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    for link in links:
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), f"{link}: no such file"
        assert not heading or heading in _anchors(target), f"{link}: {target.name} has {sorted(_anchors(target))}"


def test_every_document_is_linked_from_readme() -> None:
    linked = (ROOT / "README.md").read_text()
    for document in ROOT.glob("docs/*.md"):
        assert f"docs/{document.name}" in linked

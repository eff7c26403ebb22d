from __future__ import annotations

import pytest

from tests.serving.exports import Export, make_export


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return make_export(tmp_path_factory.mktemp("export"))

"""Made data, once for all trainings of a process."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data/` in it, where clients are started."""
    import made_data

    folder = tmp_path_factory.mktemp("clients")
    made_data.class_folders(folder / "data" / "classes")
    made_data.masks(folder / "data" / "masks")
    made_data.boxes(folder / "data" / "boxes")
    return folder

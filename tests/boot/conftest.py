"""Scripts sync what they write, so the tests' folders are in memory where that can be had."""

import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path():
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="otad-boot-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)

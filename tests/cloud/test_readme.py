"""README.md lists every kind of violation there is, and no other."""

import re
from pathlib import Path

HERE = Path(__file__).parent
RAISED = re.compile(r'(?:violation\((?:client_id, )?|\bfault=(?:None if .* else )?)"([a-z0-9-]+)"')


def test_every_violation_is_listed():
    sources = [p for p in HERE.glob("*.py") if not p.name.startswith(("test_", "conftest"))]
    raised = {kind for p in sources for kind in RAISED.findall(p.read_text())}
    table = (HERE / "README.md").read_text().split("## What it enforces")[1].split("## What it does not")[0]
    listed = {kind for line in table.splitlines() if line.startswith("| ")
              for kind in re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)*)`", line.rsplit("|", 2)[1])}
    assert raised == listed

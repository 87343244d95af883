"""docs/deadlines.md against the sources: every file that sets a timer stands in it, every test it names exists."""

import re
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
PAGE = (REPO / "docs" / "deadlines.md").read_text()
TIMERS = re.compile(r"sd_event_add_time|nanosleep|_deadline_usec = |retry_usec = usec_add|not_before_usec = |curl_easy_pause|_TIMEOUT_USEC\b|patience")
# These only hand deadlines on, or count what others wait for.
NO_WAITS = {"src/engine/engine.c", "src/engine/round-trip.c", "src/engine/update-job.c", "src/install/startup.c", "src/install/calls.c",
            "src/install/steps-program.c"}


def rows():
    """The cells of each row of the tables, but for their heads."""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and cells[0] != "wait" and not cells[0].startswith("---"):
            yield cells


def test_tests_that_are_named_exist():
    named = [name for cells in rows() for name in re.findall(r"`([^`]+)`", cells[4])]
    assert len(named) > 50
    for name in named:
        path, _, function = name.partition("::")
        text = (REPO / path).read_text()
        assert re.search(rf"^(def |static void ){function}\(", text, re.M), name
        if path.endswith(".c"):
            assert len(re.findall(rf"\b{function}\b", text)) >= 2, f"{name} is not run"


def test_all_rows_are_proven():
    """But for one that no test can bring about: a process that not even SIGKILL ends."""
    bare = [cells[0] for cells in rows() if not cells[4]]
    assert bare == ["a program, to die of SIGKILL"]
    assert len(list(rows())) >= 40


def test_sources_that_wait_are_named():
    named = {name for cells in rows() for name in re.findall(r"`(src/[^`]+)`", cells[3])}
    assert all((REPO / name).exists() for name in named)
    waiting = {str(path.relative_to(REPO)) for path in (REPO / "src").rglob("*.c") if TIMERS.search(path.read_text())}
    assert waiting - NO_WAITS <= named, waiting - NO_WAITS - named


def test_keys_are_those_of_the_configuration():
    table = (REPO / "src" / "config" / "config-table.c").read_text()
    keys = set(re.findall(r"`([a-z]+\.[a-z-]+-(?:sec|msec|bytes))`", PAGE)) | {"download.attempts"}
    assert len(keys) > 12
    assert not {key for key in keys if f'"{key}"' not in table}
    # And no time-out of the configuration is left out.
    for key in re.findall(r'NUMBER\("([a-z.-]+-(?:timeout-sec|stall-sec|give-up-sec|retry-sec))"', table):
        assert f"`{key}`" in PAGE, key

"""The message catalog: one entry for each event that the code tells, and systemd takes it."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CATALOG = ROOT / "systemd" / "otad.catalog"
CODE = (ROOT / "src" / "base" / "log-event.c").read_text()
EVENTS = dict(re.findall(r'= \{"([a-z-]+)",\s+"([0-9a-f]{32})",\s+LOG_\w+\}', CODE))


def entries():
    """id -> (headers, text)"""
    found = {}
    for part in re.split(r"^-- ", CATALOG.read_text(), flags=re.M)[1:]:
        head, _, text = part.partition("\n\n")
        message_id, *headers = head.splitlines()
        assert message_id not in found, "twice"
        found[message_id] = (dict(h.split(": ", 1) for h in headers), text)
    return found


def test_each_event_has_its_entry():
    names = re.findall(r"^        (LOG_EVENT_[A-Z_]+),", (ROOT / "include/base/log-event.h").read_text(), re.M)
    assert [n for n in names if n != "LOG_EVENT_NONE"] == re.findall(r"\[(LOG_EVENT_\w+)\]", CODE)
    assert len(EVENTS) == len(names) - 1 == len(set(EVENTS.values())) > 10
    assert set(entries()) == set(EVENTS.values())


def test_each_event_is_told_somewhere():
    code = "".join(p.read_text() for p in (ROOT / "src").rglob("*.c") if p.name != "log-event.c")
    for name in re.findall(r"\[(LOG_EVENT_\w+)\]", CODE):
        assert name in code, name


def test_entries_say_what_it_means_and_what_to_do():
    fields = set(re.findall(r'\{"(OTAD_\w+)", ', CODE))
    for message_id, (headers, text) in entries().items():
        assert set(headers) == {"Subject", "Defined-By", "Documentation"} and headers["Defined-By"] == "otad"
        assert len(text.strip().split("\n\n")) >= 2, message_id
        assert set(re.findall(r"@(\w+)@", headers["Subject"] + text)) <= fields
        assert all(len(line) <= 85 for line in text.splitlines()), message_id
        for page, section in re.findall(r"man:([a-z.-]+)\((\d)\)", headers["Documentation"]):
            assert (ROOT / "docs" / "man" / f"{page}.{section}").exists()


def test_systemd_takes_it(tmp_path):
    for folder in "usr/lib/systemd/catalog", "var/lib/systemd/catalog":
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/catalog/otad.catalog").write_text(CATALOG.read_text())
    root = f"--root={tmp_path}"
    done = subprocess.run(["journalctl", root, "--update-catalog"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    listed = subprocess.run(["journalctl", root, "--list-catalog"], check=True, capture_output=True, text=True).stdout
    assert {line.split()[0] for line in listed.splitlines()} == set(EVENTS.values())
    assert all(": " not in line or "otad: " in line for line in listed.splitlines())

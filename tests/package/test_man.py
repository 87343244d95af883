"""The manual pages say what the programs say."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("OTAD_BUILD", ROOT / "build"))
MAN = ROOT / "docs" / "man"
PAGES = sorted(p for p in MAN.iterdir() if p.suffix in (".1", ".5", ".8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_roff_is_well_formed(page):
    done = subprocess.run(["man", "--warnings", "--local-file", "-Tutf8", "-Z", page], capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "100"})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("program,page", [("agent/otad", "otad.8"), ("installer/otad-installer", "otad-installer.8"),
                                          ("cli/otactl", "otactl.1")])
def test_every_option_and_command_is_there(program, page):
    said = subprocess.run([BUILD / "src" / program, "--help"], check=True, capture_output=True, text=True).stdout
    text = (MAN / page).read_text().replace("\\-", "-")
    words = set(re.findall(r"--[a-z-]+", said)) | set(re.findall(r"^  ([a-z]+) ", said, re.M))
    assert len(words) >= 4
    assert {word for word in words if word not in text} == set()


def test_all_settings_are_there():
    done = subprocess.run([MAN / "update-conf-page", BUILD / "src" / "agent" / "otad", "--check"], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr

"""What the shells complete is what otactl takes: commands, and the options of each."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
OTACTL = Path(os.environ.get("OTAD_BUILD", ROOT / "build")).resolve() / "src/cli/otactl"
BASH, ZSH = ROOT / "conf/completion/otactl.bash", ROOT / "conf/completion/_otactl"
SAID = subprocess.run([OTACTL, "--help"], check=True, capture_output=True, text=True).stdout
COMMANDS = re.findall(r"^  ([a-z]+) ", SAID.split("Options:")[0], re.M)
OPTIONS = set(re.findall(r"--[a-z-]+", SAID))
GENERAL = {"--config", "--socket", "--help", "--version"}
VALUES = {"--target", "--signature", "--cert", "--config", "--socket"}


def is_taken(command, option):
    """By otactl itself: what is not for a command is refused before anything else is looked at."""
    words = [str(OTACTL), "--config", "/nonexistent", command, option, *(["x"] if option in VALUES else [])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    return f"{option} is not for" not in done.stderr


def complete(*words, directory="/"):
    script = f"""source {BASH}
COMP_WORDS=({' '.join(f"'{w}'" for w in words)}) COMP_CWORD={len(words) - 1}
_otactl
printf '%s\\n' "${{COMPREPLY[@]}}" """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20, cwd=directory)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return set(done.stdout.split())


def test_commands():
    assert len(COMMANDS) == len(set(COMMANDS)) > 10
    assert complete("otactl", "") == set(COMMANDS)
    assert complete("otactl", "--config", "x", "sus") == {"suspend"}
    zsh = re.search(r"commands=\((.*?)\n\t\)", ZSH.read_text(), re.S)[1]
    assert re.findall(r"^\t\t'([a-z]+):", zsh, re.M) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_options(command):
    expected = {o for o in OPTIONS - GENERAL if is_taken(command, o)}
    assert complete("otactl", command, "--") == expected | GENERAL
    text = ZSH.read_text()
    case = next((c for c in re.findall(r"^\t\t([a-z| *]+)\) (.*) ;;$", text, re.M)
                 if command in c[0].split(" | ")), ("", ""))[1]
    lists = {name: set(re.findall(r"'(--[a-z-]+)", body)) for name, body in
             re.findall(r"local -a (\w+)=\((.*?)\)\n", text, re.S)}
    found = set(re.findall(r"'(--[a-z-]+)", case)).union(*(lists[n] for n in re.findall(r"\$(\w+)", case)))
    assert found - GENERAL == expected and GENERAL <= lists["general"]


def test_targets_and_files(tmp_path):
    config = tmp_path / "otad.conf"
    config.write_text((ROOT / "conf/otad.conf").read_text())
    assert complete("otactl", "--config", str(config), "install", "--target", "") == {"rootfs", "app"}
    (tmp_path / "image.bin").write_text("")
    assert complete("otactl", "install", "im", directory=tmp_path) == {"image.bin"}
    assert complete("otactl", "verify", "--signature", "im", directory=tmp_path) == {"image.bin"}


@pytest.mark.parametrize("check", [["bash", "-n", BASH], ["shellcheck", "--shell=bash", BASH], ["zsh", "-n", ZSH]],
                         ids=["bash", "shellcheck", "zsh"])
def test_no_errors(check):
    done = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

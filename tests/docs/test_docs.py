"""The pages say what is so: compared with the code they are about, and with each other."""

import os
import re
import subprocess

import pytest

from pages import DOCS, REPO, anchor, blocks, headings, pages, read, table_rows, without_code

MINIMAL = """thing-name = "t"; broker: { endpoint = "localhost"; };
targets = ( { name = "f"; type = "file"; match = "f"; path = "/tmp/f"; mode = "0644"; } );
"""


def source(path):
    return (REPO / path).read_text()


def names_in_code(text):
    return re.findall(r"`([^`\n]+)`", without_code(text))


# configuration.md

def test_configuration_page_is_up_to_date(build):
    done = subprocess.run([REPO / "scripts/update-docs", "--check", build], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_examples_are_taken(programs, tmp_path):
    found = [b for b in blocks("configuration.md") if b.what == "config"]
    assert len(found) >= 2
    for block in found:
        groups = dict(re.findall(r"^(\w+): \{(.*?)\};$", block.code, re.M | re.S))
        broker = groups.pop("broker", "")
        text = MINIMAL.replace('"localhost";', f'"localhost"; {broker}')
        text += "".join(f"{name}: {{{body}}};\n" for name, body in groups.items())
        (tmp_path / "otad.conf").write_text(text)
        programs("otad", "--config", tmp_path / "otad.conf", "--check-config")


def config_keys():
    keys = {row[0].strip("`") for row in table_rows(read("configuration.md"))}
    return {k for k in keys if re.fullmatch(r"[a-z][a-z-]*(\.[a-z-]+)?", k)}


def test_keys_named_anywhere_exist():
    known = config_keys()
    groups = {k.split(".")[0] for k in known if "." in k}
    assert len(known) > 50
    for page in pages():
        for name in names_in_code(page.read_text()):
            key = name.split(" ")[0]
            if re.fullmatch(r"[a-z]+\.[a-z-]+", key) and key.split(".")[0] in groups and key not in known:
                assert key in ("boot.conf", "policy.json", "targets.slots"), f"{page.name}: there is no key {key}"


# troubleshooting.md

def failures():
    """word -> (code, permanent), from the table in failure.c."""
    rows = re.findall(r'\{"([a-z-]+)", "([^"]+)", (true|false)\}', source("src/base/failure.c"))
    return {word: (code, permanent == "true") for word, code, permanent in rows}


def test_every_error_word_has_its_row_and_no_other():
    known = failures()
    assert len(known) > 40 and known.pop("none")
    section = read("troubleshooting.md").split("\n## Error words\n")[1].split("\n## ")[0]
    rows = {}
    for cells in table_rows(section):
        word = re.match(r"`([a-z-]+)`( \*\*R\*\*)?$", cells[0])
        if not word:
            assert cells[0] == "word", cells
            continue
        assert word[1] not in rows, f"{word[1]} twice"
        assert len(cells) == 4 and all(len(c) > 5 for c in cells[1:]), cells
        rows[word[1]] = (cells[1].strip("`"), bool(word[2]))
    assert set(rows) - set(known) == set(), "words that do not exist"
    assert set(known) - set(rows) == set(), "words without an entry"
    assert rows == known


def test_every_reason_to_wait_is_explained():
    code = "".join(source(f"src/engine/update{part}.c") for part in ("", "-reconcile", "-job", "-device", "-policy"))
    reasons = set(re.findall(r'set_waiting\(u, "([^"]+)"', code)) | set(re.findall(r'\? "([^"]+)" : ""\)', code))
    reasons |= {r.split(":")[0] for r in re.findall(r'snprintf\(text, sizeof\(text\), "([^"]+)"', code)}
    assert len(reasons) >= 7
    page = read("troubleshooting.md")
    for reason in reasons:
        for windows in ("download", "activation"):
            assert f"`{reason.replace('%s', windows)}" in page, reason


@pytest.mark.parametrize("words", ["name look-up:", "TLS: the handshake was not finished", "no TCP connection",
                                   "no CONNACK", "the broker refused CONNECT:", "the broker disconnected us:",
                                   "the broker closed the connection without a reason", "session taken over",
                                   "keep-alive timeout", "the broker sent the TLS alert", "certificate verify failed:",
                                   "The broker refused a subscription:"])
def test_reasons_for_no_connection_are_the_programs_own(words):
    assert words in read("troubleshooting.md")
    code = "".join(p.read_text() for room in ("transport", "agent") for p in (REPO / "src" / room).glob("*.c"))
    code = re.sub(r'"\s+"', "", code)
    assert all(part in code for part in words.split(": ")), words


def test_status_details_are_those_reported():
    reported = set(re.findall(r'job_report_add\(&?report, "(\w+)"', source("src/engine/update-report.c")))
    section = read("troubleshooting.md").split("## Reading statusDetails")[1].split("\n## ")[0]
    assert {row[0].strip("`") for row in table_rows(section)} - {"key"} == reported


# monitoring.md

def test_events_are_those_of_the_code():
    code = source("src/base/log-event.c")
    events = re.findall(r'= \{"([a-z-]+)",\s+"[0-9a-f]{32}",\s+LOG_(\w+)\}', code)
    rows = [(row[0].strip("`"), row[1].upper()) for row in table_rows(read("monitoring.md")) if len(row) == 4]
    assert [r for r in rows if r[0] != "event"] == [(word, level.replace("ERROR", "ERR")) for word, level in events]
    assert set(first_column("monitoring.md", "The journal")) - {word for word, _ in events} == set(
        re.findall(r'"(OTAD_\w+)"', code))


def test_metrics_are_those_of_the_code():
    code = source("src/agent/metrics.c")
    written = re.findall(r'put_family\(file, "(otad_\w+)", "(\w+)"', code) + re.findall(
        r'put_number\(file, "(otad_\w+)", "(\w+)"', code) + [
        (name, "gauge") for name in re.findall(r'put_seconds\(file, "(otad_\w+)"', code)]
    rows = [(row[0].strip("`").split("{")[0], row[1]) for row in table_rows(read("monitoring.md")) if row[0].startswith("`otad_")]
    assert len(rows) == len(set(rows)) > 20 and set(rows) == set(written)


# hooks.md

def first_column(page, heading):
    section = re.split(rf"^#+ {re.escape(heading)}$", read(page), flags=re.M)[1]
    section = re.split(r"^#", section, flags=re.M)[0]
    return [name for row in table_rows(section) for name in re.findall(r"`([^`]+)`", row[0])]


def test_stages_and_variables_are_those_of_the_code():
    code = source("src/target/hook.c")
    assert first_column("hooks.md", "Stages") == re.findall(r'\[HOOK_STAGE_\w+\] = "([a-z-]+)"', code)
    assert set(first_column("hooks.md", "Variables")) == set(re.findall(r'"(OTAD_\w+)"', code))


def test_stages_that_may_wait_are_those_of_the_code():
    code = "".join(p.read_text() for p in (REPO / "src/install").glob("*.c"))
    waiting = code.split("static bool stage_may_wait")[1].split("return false")[0]
    may = set(w.lower().replace("_", "-") for w in
              re.findall(r"HOOK_STAGE_(\w+):", waiting.split("HOOK_STAGE_COMMIT")[0]))
    section = read("hooks.md").split("### Stages")[1].split("###")[0]
    assert {r[0].strip("`") for r in table_rows(section) if r[3].startswith("yes")} == may


def test_calls_of_the_boot_script_are_those_of_the_code():
    called = set(re.findall(r'\[VERB_\w+\] = "([a-z-]+)"', source("src/target/boot.c")))
    assert {c.split()[0] for c in first_column("hooks.md", "The boot script")[:6]} == called


def test_settings_of_the_boot_scripts_are_those_of_boot_conf():
    assert set(first_column("boot-loaders.md", "Settings")) == set(
        re.findall(r"^#([A-Z_]+)=", source("conf/boot/boot.conf"), re.M))
    scripts = {p.name for p in (REPO / "conf/boot").iterdir() if "." not in p.name}
    assert {row[0].strip("`") for row in table_rows(read("boot-loaders.md").split("\n## ")[0])} - {"script"} == scripts


# cloud-protocol.md

def test_every_section_that_is_cited_exists():
    numbers = {m[1] for m in re.finditer(r"^#+ ([0-9]+(?:\.[0-9]+)?)\.? ", read("cloud-protocol.md"), re.M)}
    cited = {}
    for folder in ("src", "include", "tests", "conf", "scripts", "docs"):
        for path in (REPO / folder).rglob("*"):
            if path.is_file() and path.suffix in (".c", ".h", ".py", ".md", ".sh", ".conf", ""):
                for number in re.findall(r"P§([0-9]+(?:\.[0-9]+)?)", path.read_text(errors="replace")):
                    cited.setdefault(number, path)
    assert len(cited) > 10
    assert not {n: p for n, p in cited.items() if n not in numbers}


# all pages

def targets_of(page):
    """Links out of a page, as (file or "", anchor or "")."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text()))
    return [tuple((t + "#").split("#")[:2]) for t in found if "://" not in t]


@pytest.mark.parametrize("page", [*pages(), REPO / "README.md", REPO / "CONTRIBUTING.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for file, place in targets_of(page):
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{file} is not there"
        if place:
            assert place in map(anchor, headings(path.read_text())), f"{file} has no #{place}"


def test_what_pages_link_to_is_installed_with_them():
    """But for what only the source tree has, which lies in folders of it."""
    installed = {p for pattern in source("debian/otad.docs").split() for p in REPO.glob(pattern)}
    for page in pages():
        for file, _ in targets_of(page):
            assert not file or "/" in file or DOCS / file in installed, f"{page.name}: {file} is in no package"


def test_examples_are_where_pages_say():
    """Installed by conf/ and systemd/."""
    examples = {p.name for folder in ("systemd", "conf/boot", "conf/hook") for p in (REPO / folder).rglob("*")}
    named = [(page.name, name) for page in [*pages(), *(DOCS / "man").glob("*.[158]")]
             for name in re.findall(r"/usr/share/doc/otad/examples/([\w.-]+)", page.read_text().replace("\\-", "-"))]
    assert {name for _, name in named} >= {"paths.conf.example", "token.conf.example"}
    assert not [(page, name) for page, name in named if name not in examples | {"hook.d"}]
    for page in pages():
        assert ".example` beside" not in page.read_text(), page.name


def test_every_page_is_in_the_readme():
    linked = {(REPO / file).resolve() for file, _ in targets_of(REPO / "README.md")}
    assert {p.resolve() for p in pages()} <= linked


def test_the_readme_leads_to_the_end_of_every_page():
    """A page that has lost its second half has lost where such a link leads."""
    linked = {((REPO / file).resolve(), place) for file, place in targets_of(REPO / "README.md")}
    for page in pages():
        last = headings(page.read_text())[-1]
        assert (page.resolve(), anchor(last)) in linked, f"{page.name} ends with '{last}', which README.md does not link to"


def test_what_the_readme_has_run_is_there():
    code = "".join(re.findall(r"^```sh\n(.*?)^```$", source("README.md"), re.M | re.S))
    programs = re.findall(r"(?:^|&& )(?:\./)?((?:scripts|tests)/\S+)", code, re.M)
    assert len(programs) >= 5 and all(os.access(REPO / program, os.X_OK) for program in programs)
    assert "install ./build-deb/otad_*.deb" in code and "default build-deb" in source("scripts/build-packages")
    assert "\nPackage: otad\n" in source("debian/control")


def test_commands_of_otactl_exist(programs):
    known = set(re.findall(r"^  ([a-z]+) ", programs("otactl", "--help"), re.M))
    assert "status" in known
    for page in pages():
        for command in re.findall(r"otactl ([a-z]+)", page.read_text()):
            assert command in known, f"{page.name}: there is no otactl {command}"


@pytest.mark.parametrize("program", ["otad", "otad-installer"])
def test_options_of_the_daemons_exist(programs, program):
    known = programs(program, "--help")
    for page in pages():
        for option in re.findall(rf"(?:^|`){program} (--[a-z-]+)", page.read_text(), re.M):
            assert option in known, f"{page.name}: {program} has no {option}"


def test_json_in_pages_is_json():
    import json
    for page in pages():
        for text in re.findall(r"^```json\n(.*?)^```", page.read_text(), re.M | re.S):
            json.loads(text)


def test_lines_fit_the_width():
    """But for tables, which cannot be broken."""
    for page in DOCS.glob("*.md"):
        for number, line in enumerate(without_code(page.read_text()).splitlines(), 1):
            assert len(line) <= 125 or line.startswith(("|", "<!--")), f"{page.name}, about line {number}"

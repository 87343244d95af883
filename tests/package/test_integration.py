"""docs/integration.md and the recipes beside it name what the build files ask for and install. What bitbake or Buildroot
would make of them is not tried here."""

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("OTAD_BUILD", ROOT / "build"))
PAGE = (ROOT / "docs" / "integration.md").read_text()
RECIPE = (ROOT / "docs" / "integration" / "yocto" / "otad_0.1.0.bb").read_text()
APPEND = (ROOT / "docs" / "integration" / "yocto" / "otad_%.bbappend").read_text()
BUILDROOT = ROOT / "docs" / "integration" / "buildroot"
MAKE, CONFIG, HASH = ((BUILDROOT / name).read_text() for name in ("otad.mk", "Config.in", "otad.hash"))
MESON = (ROOT / "meson.build").read_text()
VERSION = re.search(r"^        version: '([^']+)'", MESON, re.M)[1]
# Of the page's table: pkg-config name -> (version, Debian, Yocto, Buildroot).
LIBRARIES = {m[1]: (m[2], *re.split(r" *\| *", m[3])) for m in
             re.finditer(r"^\| `(lib\w+)` \| (\S+) \|[^|]+\| (.+?) \|$", PAGE, re.M)}
WANTED = dict(re.findall(r"^dep_\w+ = dependency\('(lib\w+)', version: '>=([^']+)'\)", MESON, re.M)) | {
    f"lib{name}": "any" for name in re.findall(r"find_library\('(\w+)'", MESON)}      # those that pkg-config does not know
OPTIONS = re.findall(r"^option\('(\w+)'", (ROOT / "meson_options.txt").read_text(), re.M)
BUILD_ONLY = {"cmocka"}     # dependencies of an option


def words(text, name):
    """Those of a variable of a recipe or a makefile."""
    value = re.search(rf'^{re.escape(name)} (?:=|\?=|\+=) *"?((?:[^"\n\\]|\\\n)*)', text, re.M)
    assert value, name
    return value[1].replace("\\\n", " ").split()


def test_every_dependency_is_in_the_page():
    asked = set(re.findall(r"^dep_\w+ = dependency\('(\w+)'", MESON, re.M))
    assert asked == {name for name in WANTED if WANTED[name] != "any"} | BUILD_ONLY and len(WANTED) == 10
    assert {name: row[0] for name, row in LIBRARIES.items()} == WANTED


@pytest.mark.parametrize("library", WANTED)
def test_every_dependency_is_in_each_recipe(library):
    _, debian, yocto, buildroot = LIBRARIES[library]
    assert re.search(rf"^\s+{re.escape(debian)}\b", (ROOT / "debian" / "control").read_text(), re.M)
    assert re.search(rf"^{re.escape(debian)}\s+build$", (ROOT / "scripts" / "packages").read_text(), re.M)
    assert yocto in words(RECIPE, "DEPENDS")
    assert buildroot in words(MAKE, "OTAD_DEPENDENCIES")
    selected = re.findall(r"^\t(?:select|depends on) BR2_(?:PACKAGE|INIT)_(\w+)", CONFIG, re.M)
    assert buildroot.upper().replace("-", "_") in selected


def test_nothing_else_is_asked_for():
    assert set(words(RECIPE, "DEPENDS")) == {row[2] for row in LIBRARIES.values()}
    assert set(words(MAKE, "OTAD_DEPENDENCIES")) == {row[3] for row in LIBRARIES.values()} | {"host-pkgconf"}


def test_every_option_is_decided():
    said = "".join(words(RECIPE, "EXTRA_OEMESON")) + re.search(r"^PACKAGECONFIG\[.*", RECIPE, re.M)[0]
    for option in OPTIONS:
        assert f"| `{option}` |" in PAGE and f"-D{option}=" in said
        assert any(word.startswith(f"-D{option}=") for word in words(MAKE, "OTAD_CONF_OPTS"))


def test_license_and_version():
    text = (ROOT / "LICENSE").read_bytes()
    assert f"LICENSE;md5={hashlib.md5(text).hexdigest()}" in RECIPE
    assert f"{hashlib.sha256(text).hexdigest()}  LICENSE" in HASH
    assert f"OTAD_VERSION = {VERSION}\n" in MAKE
    assert (ROOT / "debian" / "changelog").read_text().startswith(f"otad ({VERSION})")


def test_user_is_that_of_sysusers():
    home = re.search(r'^u otad - "[^"]*" (\S+)$', (ROOT / "systemd" / "sysusers.conf").read_text(), re.M)[1]
    assert f"--home-dir {home} " in RECIPE and f" {home} " in re.search(r"define OTAD_USERS\n(.*)\n", MAKE)[1]


def test_folders_are_those_of_tmpfiles():
    for path, mode in re.findall(r"^d (/etc/\S+) (\d+) ", (ROOT / "systemd" / "tmpfiles.conf").read_text(), re.M):
        assert path.removeprefix("/etc/") in APPEND.replace("${sysconfdir}/", "") and path in MAKE and mode in APPEND + MAKE


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", folder], check=True, capture_output=True)
    return {"/" + str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_all_that_is_installed_is_packaged(installed):
    """Yocto fails for what no package has; those folders below are in every recipe's FILES."""
    folders = {"bindir": "/usr/bin", "sbindir": "/usr/sbin", "sysconfdir": "/etc", "mandir": "/usr/share/man",
               "docdir": "/usr/share/doc", "datadir": "/usr/share", "nonarch_libdir": "/usr/lib",
               "systemd_system_unitdir": "/lib/systemd/system"}
    mine = [re.sub(r"\$\{(\w+)\}", lambda m: folders[m[1]], word) for word in words(RECIPE, "FILES:${PN}")]
    usual = [folders[name] for name in ("bindir", "sbindir", "sysconfdir", "mandir", "docdir")]
    assert len(installed) > 25
    assert {path for path in installed if not path.startswith(tuple(mine + usual))} == set()
    assert {path for path in mine if not any(p.startswith(path) for p in installed)} == set()


def test_units_that_are_enabled_can_be(installed):
    enabled = words(RECIPE, "SYSTEMD_SERVICE:${PN}")
    for unit in enabled:
        assert f"`{unit}`" in PAGE
        assert "[Install]" in (ROOT / "systemd" / unit).read_text() and f"/lib/systemd/system/{unit}" in installed
    others = [path.name for path in (ROOT / "systemd").glob("*.s*") if "@" not in path.name and
              path.name not in enabled and "[Install]" in path.read_text()]
    assert others == []


def test_files_of_the_page_exist(installed):
    for path in re.findall(r"`(conf/[\w./-]+)`", PAGE):
        assert (ROOT / path).exists()
    for path in re.findall(r"`(/(?:usr|etc)/[\w./-]+)/?\*?`", PAGE):
        path = path.rstrip("/")
        assert any(p.startswith(path) for p in installed) or path in (
            "/etc/otad/otad.conf", "/etc/os-release", "/etc/otad/tls", "/etc/otad/trust", "/etc/otad/hook.d"), path


@pytest.mark.parametrize("arch", ["arm64", "armhf"])
def test_cross_files_are_whole(arch):
    text = (ROOT / "conf" / "cross" / f"{arch}.ini").read_text()
    assert re.findall(r"^(\w+) = ", text, re.M) == ["c", "ar", "strip", "pkgconfig", "exe_wrapper", "system", "cpu_family",
                                                    "cpu", "endian"]
    assert f"conf/cross/{arch}.ini" in PAGE

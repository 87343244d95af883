"""The hooks that are shipped, with tools in PATH that only note how they were called."""

import subprocess
from pathlib import Path

import pytest

HOOKS = Path(__file__).resolve().parent.parent.parent / "conf" / "hook"
BOOT = HOOKS.parent / "boot"
STAGES = ["pre-install", "post-install", "activate", "reboot", "selftest", "commit", "rollback", "cleanup"]
PARTS = ["service", "container", "raspberry-pi", "systemd-boot"]


class Device:
    """Tools that note their call and end with the status in a file of their name, if there is one."""

    def __init__(self, folder):
        self.folder, self.log, self.tools = folder, folder / "log", folder / "tools"
        self.tools.mkdir()
        self.parts = folder / "hook.d"
        self.parts.mkdir()
        for tool in ("systemctl", "systemd-run", "docker", "podman", "mount"):
            path = self.tools / tool
            path.write_text(f'#!/bin/sh\necho "{tool} $*" >>{self.log}\n'
                            f'[ ! -e {folder}/{tool}.fails ] || {{ echo "{tool} fails" >&2; exit 1; }}\n')
            path.chmod(0o755)

    def fails(self, tool):
        (self.folder / f"{tool}.fails").touch()

    def run(self, hook, *arguments, **environment):
        """Status and last line on stderr, which otad takes for the reason."""
        self.log.write_text("")
        done = subprocess.run([hook if "/" in str(hook) else HOOKS / hook, *arguments], cwd="/", timeout=30, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              env={"PATH": f"{self.tools}:/usr/bin:/bin", "OTAD_HOOK_PARTS": str(self.parts),
                                   "HOOK_PAUSE": "0", "HOOK_TIMES": "3", **environment})
        return done.returncode, (done.stderr.strip().splitlines() or [""])[-1]

    def calls(self):
        return self.log.read_text().splitlines()

    def add_part(self, name, text, mode=0o755):
        part = self.parts / name
        part.write_text(f"#!/bin/sh\necho '{name}' \"$1\" >>{self.log}\n{text}\n")
        part.chmod(mode)


@pytest.fixture
def device(tmp_path):
    return Device(tmp_path)


def test_shellcheck():
    scripts = [p for p in [*HOOKS.iterdir(), *BOOT.iterdir(), HOOKS.parent.parent / "systemd" / "watch-trial"]
               if p.read_text().startswith("#!/bin/sh") or p.suffix == ".sh"]
    assert len(scripts) == 12
    done = subprocess.run(["shellcheck", "--external-sources", f"--source-path={HOOKS.parent.parent}", *scripts],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# ---- the default hook ----

@pytest.mark.parametrize("stage", [*STAGES, "a-stage-of-the-future"])
def test_default_hook_restarts_for_reboot_and_nothing_else(device, stage):
    assert device.run("otad-hook", stage) == (0, "")
    assert device.calls() == (["systemctl reboot"] if stage == "reboot" else [])


def test_default_hook_says_when_it_cannot_restart(device):
    device.fails("systemctl")
    assert device.run("otad-hook", "reboot") == (1, "systemctl fails")


def test_parts_run_in_order(device):
    device.add_part("20-second", "exit 77")
    device.add_part("10-first", "exit 0")
    assert device.run("otad-hook", "activate") == (0, "")
    assert device.calls() == ["10-first activate", "20-second activate"]


@pytest.mark.parametrize("status", [1, 75, 3])
def test_a_part_that_fails_or_says_not_now_is_the_last(device, status):
    device.add_part("10", f"echo 'a measurement goes on' >&2; exit {status}")
    device.add_part("20", "exit 0")
    assert device.run("otad-hook", "pre-install") == (status, "a measurement goes on")
    assert device.calls() == ["10 pre-install"]


def test_a_part_may_put_the_restart_off(device):
    device.add_part("10", "exit 75")
    assert device.run("otad-hook", "reboot")[0] == 75
    assert "systemctl reboot" not in device.calls()


def test_a_restart_of_its_own_kind(device):
    device.add_part("10", "exit 0")
    device.add_part("reboot", "exit 0")
    device.add_part("zz", "exit 77")
    assert device.run("otad-hook", "activate") == (0, "")
    assert device.calls() == ["10 activate", "zz activate"]
    assert device.run("otad-hook", "reboot") == (0, "")
    assert device.calls() == ["10 reboot", "zz reboot", "reboot reboot"]


def test_what_is_no_part(device):
    device.add_part("10.dpkg-old", "exit 1")
    device.add_part("10~", "exit 1")
    device.add_part("20", "exit 1", mode=0o644)
    (device.parts / "30").mkdir()
    assert device.run("otad-hook", "activate") == (0, "")
    assert device.calls() == []


# ---- the examples ----

def test_every_part_is_tested_and_installed():
    assert sorted(part.name for part in HOOKS.iterdir()) == sorted([*PARTS, "otad-hook"])
    installed = (HOOKS.parent / "meson.build").read_text()
    assert all(f"'hook/{part}'" in installed for part in PARTS) and installed.count("'hook/") == len(PARTS) + 1


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("stage", [*STAGES, "a-stage-of-the-future"])
def test_parts_leave_other_targets_alone(device, part, stage):
    status, _ = device.run(part, stage, OTAD_TARGET="something-else", HOOK_BOOT_SCRIPT="/bin/true")
    assert status == (0 if (part, stage) == ("raspberry-pi", "reboot") else 77)
    assert device.calls() == ([] if status == 77 else ["systemctl reboot"])


@pytest.mark.parametrize("part,target", [("service", "app"), ("container", "container"), ("systemd-boot", "rootfs")])
def test_parts_know_which_stages_are_theirs(device, part, target):
    assert device.run(part, "a-stage-of-the-future", OTAD_TARGET=target)[0] == 77
    assert device.calls() == []


def test_service(device):
    for stage in "activate", "rollback":
        assert device.run("service", stage, OTAD_TARGET="app") == (0, "")
        assert device.calls() == ["systemctl restart gateway-app.service"]
    assert device.run("service", "selftest", OTAD_TARGET="app") == (0, "")
    assert device.calls() == ["systemctl is-active --quiet gateway-app.service",
                              "systemd-run --quiet --wait --collect --pipe curl -fsS -m 5 -o /dev/null "
                              "http://127.0.0.1:8080/health"]


@pytest.mark.parametrize("tool", ["systemctl", "systemd-run"])
def test_service_that_is_not_well(device, tool):
    device.fails(tool)
    assert device.run("service", "selftest", OTAD_TARGET="app") == (1, "gateway-app.service gives no sign of health")
    assert device.calls().count("systemctl is-active --quiet gateway-app.service") == 3


def test_service_that_does_not_start(device):
    device.fails("systemctl")
    assert device.run("service", "activate", OTAD_TARGET="app") == (1, "gateway-app.service cannot be restarted")


@pytest.mark.parametrize("tool,prefix", [("docker", ""), ("podman", "systemd-run --quiet --wait --collect --pipe ")])
def test_container(device, tool, prefix, tmp_path):
    image = tmp_path / "image.tar"
    image.touch()
    settings = {"OTAD_TARGET": "container", "OTAD_PATH": str(image), "HOOK_TOOL": tool}
    for stage in "activate", "rollback":
        assert device.run("container", stage, **settings) == (0, "")
        assert device.calls() == [f"{prefix}{tool} load --quiet --input {image}",
                                  "systemctl restart gateway-container.service"]
    assert device.run("container", "commit", **settings) == (0, "")
    assert device.calls() == [f"{prefix}{tool} image prune --force"]


def test_container_that_cannot_be_loaded(device):
    device.fails("docker")
    assert device.run("container", "activate", OTAD_TARGET="container", OTAD_PATH="/x") == (1, "docker cannot load /x")
    assert device.run("container", "commit", OTAD_TARGET="container", OTAD_PATH="/x")[0] == 0


def test_container_without_an_old_image(device):
    assert device.run("container", "rollback", OTAD_TARGET="container", OTAD_PATH="/nowhere/image") == (0, "")
    assert device.calls() == ["systemctl restart gateway-container.service"]


@pytest.mark.parametrize("prints,call", [
    ("0 tryboot", "systemd-run --quiet --wait --collect --pipe systemctl reboot --reboot-argument=0 tryboot"),
    ("", "systemctl reboot")])
def test_raspberry_pi(device, tmp_path, prints, call):
    script = tmp_path / "boot"
    script.write_text(f"#!/bin/sh\n[ $1 = reboot-argument ] && echo '{prints}'\n")
    script.chmod(0o755)
    assert device.run("raspberry-pi", "reboot", HOOK_BOOT_SCRIPT=str(script)) == (0, "")
    assert device.calls() == [call]


@pytest.mark.parametrize("tool,argument", [("systemd-run", "0 tryboot"), ("systemctl", "")])
def test_raspberry_pi_that_cannot_restart(device, tmp_path, tool, argument):
    device.fails(tool)
    script = tmp_path / "boot"
    script.write_text(f"#!/bin/sh\necho '{argument}'\n")
    script.chmod(0o755)
    assert device.run("raspberry-pi", "reboot", HOOK_BOOT_SCRIPT=str(script)) == (1, f"{tool} fails")


def test_raspberry_pi_without_an_answer(device):
    assert device.run("raspberry-pi", "reboot", HOOK_BOOT_SCRIPT="/bin/false") == \
        (1, "the boot script does not tell how to restart")
    assert device.calls() == []


@pytest.fixture
def esp(device, tmp_path):
    """A device whose new slot has a kernel and an initrd; systemd and mount are stood in for. Its boot script wants them in
    /b of the ESP."""
    (tmp_path / "slot" / "boot").mkdir(parents=True)
    (tmp_path / "slot" / "boot" / "vmlinuz").write_bytes(b"MZ new kernel")
    (tmp_path / "slot" / "boot" / "initrd.img").write_bytes(b"new initrd")
    (tmp_path / "run").mkdir()
    (device.tools / "systemd-run").write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\n'
                                              f'RUNTIME_DIRECTORY={tmp_path}/run exec "$@"\n')
    (device.tools / "mount").write_text(f'#!/bin/sh\necho "mount $*" >>{device.log}\ncp -r "$3/." "$4"\n')
    script = tmp_path / "boot-script"
    script.write_text(f"#!/bin/sh\n[ \"$*\" = 'files B' ] && echo {tmp_path}/esp/b/vmlinuz {tmp_path}/esp/b/initrd.img\n")
    script.chmod(0o755)
    return tmp_path / "esp"


def copy_kernel(device, esp, script="boot-script"):
    slot = esp.parent / "slot"
    return device.run("systemd-boot", "post-install", OTAD_TARGET="rootfs", OTAD_SLOT="B", OTAD_DEVICE=str(slot),
                      HOOK_BOOT_SCRIPT=str(esp.parent / script))


def test_systemd_boot(device, esp):
    for kernel in b"MZ new kernel", b"MZ newer":
        (esp.parent / "slot" / "boot" / "vmlinuz").write_bytes(kernel)
        assert copy_kernel(device, esp) == (0, "")
        assert device.calls() == [f"mount -o ro {esp.parent}/slot {esp.parent}/run"]
        assert (esp / "b" / "vmlinuz").read_bytes() == kernel
        assert (esp / "b" / "initrd.img").read_bytes() == b"new initrd"


def test_systemd_boot_kernel_that_is_none(device, esp):
    (esp.parent / "slot" / "boot" / "vmlinuz").write_bytes(b"")
    assert copy_kernel(device, esp) == (1, "/boot/vmlinuz of the image is no program for EFI")
    assert not esp.exists()


def test_systemd_boot_image_without_an_initrd(device, esp):
    (esp.parent / "slot" / "boot" / "initrd.img").unlink()
    assert copy_kernel(device, esp) == (1, f"{esp}/b/initrd.img cannot be written")


def test_systemd_boot_without_an_answer(device, esp):
    assert copy_kernel(device, esp, "nowhere") == (1, "the boot script does not tell what slot B needs")

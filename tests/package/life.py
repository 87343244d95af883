"""The life of the Debian packages on a clean Debian 12 in a container: installed by apt, not configured, configured, real
updates (a file, and a slot with a reboot) against the local cloud, an agent that hangs, upgrades of the package in the middle
of an update, a removal, a purge. One method a step, in order."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path

from cryptography import x509

from boot.loaders import File, Grub, RaspberryPi, SystemdBoot, UBoot
from cloud import Cloud, OtaFile, faults
from cloud.pki import write_cert
from gateway.image import make_image
from package.container import Container

TOP = Path(__file__).resolve().parent.parent.parent
THING = "gateway-1"
UNITS = ("otad.service", "otad-installer.socket", "otad-installer.service", "otad-selftest.service")

TOOLS = ("grub-common", "libubootenv-tool")     # what boot scripts call
POLKIT = ("polkitd", "libpam-systemd")
TOKEN = ("libengine-pkcs11-openssl", "opensc", "softhsm2")      # what getting-started.md has installed

CONFIG = """
thing-name = "{thing}";
broker: {{ endpoint = "localhost"; port = {port}; backoff-cap-sec = 2; }};
download: {{ https-ca = "/etc/otad/tls/root-ca.pem"; }};
version: {{ file = "/var/lib/gateway/os-release"; }};
targets = (
  {{ name = "rootfs"; type = "ab"; match = "rootfs.img"; boot = "/usr/lib/otad/boot/file";
    slots = ( {{ name = "A"; device = "/srv/slots/a"; }}, {{ name = "B"; device = "/srv/slots/b"; }} ); }},
  {{ name = "app"; type = "file"; match = "app"; path = "/opt/gateway/app"; mode = "0755"; }}
);
selftest: {{ timeout-sec = 60; }};
paths: {{ boot-id = "/run/boot-id"; }};     // that of the kernel is the host's, as a sandbox within the container sees it
"""

# Plays the boot loader: chooses a slot as conf/boot/file tells, and lets the "software" in it say its version.
LOADER = """#!/bin/sh
set -eu
cd /var/lib/otad-boot
for slot in $(cat ORDER); do
	[ "$(cat $slot.ok)" != 1 ] || break
	left=$(cat $slot.try)
	if [ "$left" -gt 0 ]; then echo $((left - 1)) >$slot.try; break; fi
done
echo "rauc.slot=$slot" >cmdline
cat /proc/sys/kernel/random/uuid >/run/boot-id
mkdir -p /var/lib/gateway
head -n 1 /srv/slots/$(echo $slot | tr AB ab) >/var/lib/gateway/os-release
"""
POLKIT_RULE = """polkit.addRule(function(action, subject) {
    if (action.id == "org.otad1.manage" && subject.user == "games")
        return polkit.Result.YES;
});
"""
LOADER_UNIT = """[Unit]
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/loader
[Install]
WantedBy=sysinit.target
"""
APP_UNIT = "[Service]\nExecStart=/opt/gateway/app\n"
APP = "#!/bin/sh\n# {version}\nexec sleep infinity\n"


HOLD = """#!/bin/sh
# Stays in a stage as long as there is a file of its name.
[ -e "/var/lib/gateway/hold/$1" ] || exit 77
touch "/var/lib/otad-boot/at.$1"
while [ -e "/var/lib/gateway/hold/$1" ]; do sleep 0.1; done
"""


def build_packages():
    """Paths by name: otad, otad-dev-cloud."""
    done = subprocess.run([TOP / "scripts" / "build-packages"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    paths = {path.name.split("_")[0]: TOP / path for path in map(Path, done.stdout.split())}
    return {name: paths[name] for name in ("otad", "otad-dev-cloud")}


def with_version(package, version, folder, **more):
    """Path of a copy of another version; `more`: what is added to files in its /etc/otad."""
    new, tree = folder / f"{package.stem}-{version.replace(':', '-')}.deb", folder / "unpacked"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*", f"Version: {version}", control.read_text(), flags=re.M))
    for name, text in more.items():
        with open(tree / "etc" / "otad" / name, "a") as file:
            file.write(text)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, new], check=True, capture_output=True)
    shutil.rmtree(tree)
    return new


class Life:
    """`folder`: for the container and what else it needs; close() ends what runs."""

    def __init__(self, folder):
        self.folder = folder
        self.machine = self.cloud = None
        self.n_newer = 0

    def close(self):
        if self.machine:
            self.machine.power_off()
        if self.cloud:
            self.cloud.close()

    def check(self, what, is_so, told=""):
        if not is_so:
            raise AssertionError(f"{what}{': ' if told else ''}{told}")

    # ---- the steps, in order ----

    def step_build(self):
        packages = build_packages()
        self.package, self.cloud_package = packages["otad"], packages["otad-dev-cloud"]

    def step_lintian(self):
        """-I: all that it has to say is here, but for init scripts, which there are none of."""
        changes = list(self.package.parent.glob("*.changes"))
        done = subprocess.run(["lintian", "--allow-root", "--display-info", "--pedantic", "--fail-on",
                               "error,warning,info,pedantic", *changes], capture_output=True, text=True)
        self.check("lintian", len(changes) == 1 and done.returncode == 0, done.stdout + done.stderr)

    def step_stand_in(self):
        """otad-dev-cloud brings a command that works away from the source tree."""
        tree = self.folder / "stand-in"
        subprocess.run(["dpkg-deb", "-x", self.cloud_package, tree], check=True)
        done = subprocess.run([tree / "usr" / "bin" / "otad-cloud", "--help"], cwd="/", capture_output=True, text=True)
        self.check("otad-cloud --help", done.returncode == 0 and "start" in done.stdout, done.stderr)

    def step_machine(self):
        self.machine = m = Container(self.folder)
        m.write("/usr/local/sbin/loader", LOADER, 0o755)
        m.write("/etc/systemd/system/loader.service", LOADER_UNIT)
        m.write("/etc/systemd/system/gateway-app.service", APP_UNIT)
        for name, text in {"ORDER": "A B", "A.ok": "1", "A.try": "0", "B.ok": "0", "B.try": "0"}.items():
            m.write(f"/var/lib/otad-boot/{name}", text + "\n")
        m.path("/srv/slots").mkdir(parents=True)
        for slot, version in ("a", "1.0.0"), ("b", "0.9.0"):
            m.path(f"/srv/slots/{slot}").write_bytes(make_image(version, 1 << 20))
        m.write("/opt/gateway/app", APP.format(version="1"), 0o755)
        wants = m.path("/etc/systemd/system/sysinit.target.wants")
        wants.mkdir(parents=True, exist_ok=True)
        (wants / "loader.service").symlink_to("/etc/systemd/system/loader.service")
        m.power_on()
        self.no_failed_units()
        self.before = self.listing()

    def listing(self):
        """Every path that a package could leave behind."""
        found = self.machine.sh("find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /run "
                                "-o -path /var/log -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/lib/systemd "
                                "-o -path /var/tmp -o -path /debs \\) -prune -o -print")
        return set(found.splitlines())

    def no_failed_units(self):
        failed = self.machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
        self.check("no unit has failed", failed.strip() == "", failed + self.machine.run("journalctl", "-b", "-n", "60"))

    def property(self, unit, name):
        return self.machine.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def install(self, package):
        m = self.machine
        shutil.copy(package, m.path("/debs") / package.name)
        return m.run("apt-get", "install", "--yes", "--quiet", "--option=Dpkg::Options::=--force-confold",
                     f"/debs/{package.name}")

    def newer(self, **more):
        """Path of a package of the next version; `more`: what is added to files in its /etc/otad."""
        self.n_newer += 1
        return with_version(self.package, f"1:{self.n_newer}", self.folder, **more)

    def upgrade(self, **more):
        """Both daemons are others afterwards, if they ran before."""
        units = ("otad.service", "otad-installer.service")
        before = [self.property(unit, "MainPID") for unit in units]
        self.install(self.newer(**more))
        self.machine.wait("systemctl is-active --quiet otad.service otad-installer.socket")
        for unit, pid in zip(units, before):
            self.check(f"{unit} was started anew", pid == "0" or self.property(unit, "MainPID") != pid)

    def mode(self, path):
        return self.machine.run("stat", "-c", "%a %U:%G", path).strip()

    def step_install(self):
        m = self.machine
        said = self.install(self.package)
        self.check("the installation says how to go on", "otad.conf.example" in said, said)
        for unit in "otad.service", "otad-installer.socket", "otad-selftest.service":
            self.check(f"{unit} is enabled", m.run("systemctl", "is-enabled", unit).strip() == "enabled")
        for unit in UNITS:
            self.check(f"{unit} does not run unconfigured", self.property(unit, "ActiveState") == "inactive",
                       m.run("systemctl", "status", unit, check=False))
        self.no_failed_units()
        for path, mode in {"/run/otad": "1775 root:otad", "/etc/otad": "755 root:root", "/etc/otad/hook": "755 root:root",
                           "/etc/otad/tls": "2750 root:otad", "/etc/otad/trust": "755 root:root",
                           "/etc/otad/trust/ca": "755 root:root"}.items():
            self.check(f"{path} is {mode}", self.mode(path) == mode, self.mode(path))
        shell = m.sh("getent passwd otad").strip().split(":")[-1]
        self.check("the user otad cannot log in", shell == "/usr/sbin/nologin", shell)
        done = m.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
                     *(f"/lib/systemd/system/{unit}" for unit in UNITS), check=False)
        self.check("systemd-analyze verify is content", done == "", done)
        done = m.run("otad", "--check-config", check=False)
        self.check("otad says what it misses", "/etc/otad/otad.conf" in done, done)

    def step_configure(self):
        m = self.machine
        self.cloud = Cloud(self.folder / "cloud").start()
        self.signer = self.cloud.add_signer("codesign")
        thing = self.cloud.add_thing(THING)
        for source, name in (thing.ca, "root-ca.pem"), (thing.cert, "device.pem.crt"), (thing.key, "device.pem.key"):
            # As an operator would: the folder's group is inherited, its mode keeps others out.
            m.write(f"/etc/otad/tls/{name}", Path(source).read_text(), 0o640)
        m.write("/etc/otad/trust/codesign.pem", Path(self.signer.path).read_text())
        m.write("/etc/otad/boot.conf", "OTAD_CMDLINE=/var/lib/otad-boot/cmdline\n")
        # A file elsewhere than in /opt needs the drop-in; slots of a real machine are devices and do not.
        m.write("/etc/systemd/system/otad-installer.service.d/paths.conf", "[Service]\nReadWritePaths=/srv/slots\n")
        # The example part for services, with a question that can be answered here.
        part = (TOP / "conf" / "hook" / "service").read_text().replace(
            "curl -fsS -m 5 -o /dev/null http://127.0.0.1:8080/health", "test -x /opt/gateway/app")
        m.write("/etc/otad/hook.d/service", part, 0o755)
        m.write("/etc/otad/otad.conf", CONFIG.format(thing=THING, port=self.cloud.port))
        m.run("systemctl", "daemon-reload")
        for program in "otad", "otad-installer":
            m.run(program, "--check-config")
        m.run("systemctl", "start", "otad-installer.socket", "otad.service", "gateway-app.service")
        self.cloud.wait_connected(THING, 30)
        for path, mode in {"/run/otad/installer.sock": "660 root:otad", "/run/otad/control.sock": "666 otad:otad",
                           "/var/lib/otad": "750 otad:otad", "/var/lib/otad-installer": "700 root:root"}.items():
            m.wait(f"test -e {path}")
            self.check(f"{path} is {mode}", self.mode(path) == mode, self.mode(path))
        status = m.sh(f"cat /proc/{self.property('otad.service', 'MainPID')}/status")
        user = m.run("id", "-u", "otad").strip()
        self.check("otad is the user otad, without capabilities and a way to get any",
                   re.search(rf"^Uid:\t{user}\t{user}\t{user}\t{user}$", status, re.M) and
                   re.search(r"^CapBnd:\t0+$", status, re.M) and re.search(r"^NoNewPrivs:\t1$", status, re.M), status)
        self.no_failed_units()

    def step_bus(self):
        """The policy lets everyone look, and nobody but root and otad change anything."""
        m = self.machine
        m.wait("busctl --system status org.otad1 >/dev/null")
        call = ["busctl", "--system", "call", "org.otad1", "/org/otad1", "org.otad1.Manager"]
        status = m.run("setpriv", "--reuid=nobody", "--clear-groups", *call, "GetStatus")
        self.check("nobody may look", THING in status, status)
        refused = m.run("setpriv", "--reuid=nobody", "--clear-groups", *call, "Suspend", check=False)
        self.check("nobody may not suspend", "denied" in refused.lower(), refused)
        refused = m.run("setpriv", "--reuid=nobody", "--clear-groups", "otactl", "suspend", check=False)
        self.check("nor by otactl, which tries both ways", "Only root" in refused, refused)
        m.run(*call, "Suspend")
        m.run(*call, "Resume")
        m.run("otactl", "status")

    def step_polkit(self):
        """otactl for those whom the socket refuses: by the bus, for whom a rule of this machine lets."""
        m = self.machine
        m.run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *POLKIT)
        m.write("/etc/polkit-1/rules.d/10-otad.rules", POLKIT_RULE)
        m.wait("systemctl is-active --quiet polkit || systemctl start polkit")

        def otactl(user, command):
            return m.run("setpriv", f"--reuid={user}", "--clear-groups", "otactl", command, check=False)
        refused = otactl("nobody", "suspend")
        self.check("nobody may not", "Only root" in refused, refused)
        for command, says in ("suspend", "are suspended"), ("resume", "go on"):
            told = otactl("games", command)
            self.check(f"a user whom a rule lets may {command}", says in told, told)

    def sandboxed(self, *command, **environment):
        """Runs it in what otad-installer.service is allowed, as its hooks and boot scripts are; its output."""
        service = self.machine.path("/lib/systemd/system/otad-installer.service").read_text().split("[Service]")[1]
        rules = [line for line in service.splitlines() if re.match("[A-Z]", line) and
                 not re.match("Type|Exec|Watchdog|Timeout|Restart|StateDirectory", line)]
        return self.machine.run("systemd-run", "--quiet", "--wait", "--pipe", "--collect",
                                *(f"--property={rule}" for rule in rules),
                                *(f"--setenv={name}={value}" for name, value in environment.items()), *command)

    def step_boot_scripts(self):
        """Each with its boot loader's real tools, on a store below /boot; and U-Boot's on one that the sandbox cannot write."""
        m = self.machine
        m.run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *TOOLS)
        stores = [(kind, f"/boot/{kind.name}") for kind in (File, Grub, UBoot, SystemdBoot, RaspberryPi)]
        for kind, inside in [*stores, (UBoot, "/srv/uboot")]:
            m.path(inside).mkdir(parents=True)
            loader = kind(m.path(inside))
            for path in (loader.settings, m.path(inside) / "fw_env.config"):
                if path.exists():
                    path.write_text(path.read_text().replace(str(m.root), ""))
            where = {"OTAD_BOOT_CONF": f"{inside}/boot.conf", "OTAD_CMDLINE": f"{inside}/cmdline",
                     "OTAD_DEVICE_TREE": f"{inside}/device-tree"}

            def call(*words):
                return self.sandboxed(f"/usr/lib/otad/boot/{kind.name}", *words, **where).strip()
            self.check(f"{kind.name}: A runs and is next", (call("get-current"), call("get-primary")) == ("A", "A"))
            call("set-state", "B", "bad")
            call("set-primary", "B")
            self.check(f"{kind.name}: B is next", call("get-primary") == "B")
        m.sh("rm -r /boot/* /srv/uboot")

    def step_documented(self):
        """Commands of the pages that need an installed and configured otad, as they stand there."""
        look, prepare = self.blocks("boot-loaders.md")
        self.machine.sh(f"mkdir -p /boot/grub\n{prepare}{look}rm -r /boot/grub")
        self.machine.sh(self.blocks("configuration.md")[0])
        self.cloud.wait_connected(THING, 30)

    @staticmethod
    def blocks(page, heading="", language="sh"):
        """The examples on a page of the docs, or after one of its headings, that are in a language."""
        text = (TOP / "docs" / page).read_text()
        fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text[text.index(heading):], re.M | re.S)
        return [block for its_language, block in fenced if its_language == language]

    def update(self, name, image, timeout=90):
        job = self.cloud.create_ota_update([THING], [OtaFile(name, image, self.signer)], protocols=("HTTP", "MQTT"))
        try:
            self.cloud.wait_for(job, "SUCCEEDED", timeout)
        except Exception as error:
            raise AssertionError(f"{error}\n{self.journal()}") from None

    def journal(self):
        return self.machine.run("journalctl", "-o", "short-monotonic", "--no-hostname", "-u", "otad*", "-n", "80", check=False)

    def step_update_file(self):
        m = self.machine
        pid = self.property("gateway-app.service", "MainPID")
        self.update("app", APP.format(version="2").encode())
        self.check("the new program is in place", "# 2" in m.path("/opt/gateway/app").read_text())
        self.check("its service was started anew", self.property("gateway-app.service", "MainPID") != pid)

    def step_update_slot(self):
        """The hook restarts the machine from within the sandbox; after it, everything comes up by itself."""
        m = self.machine
        job = self.cloud.create_ota_update([THING], [OtaFile("rootfs.img", make_image("1.1.0", 600000), self.signer)],
                                           protocols=("MQTT",))
        try:
            m.wait_restart()
            self.cloud.wait_for(job, "SUCCEEDED", 60)
        except Exception as error:
            raise AssertionError(f"{error}\n{self.journal()}") from None
        self.check("slot B runs", "rauc.slot=B" in m.path("/var/lib/otad-boot/cmdline").read_text())
        self.check("slot B is good", m.path("/var/lib/otad-boot/B.ok").read_text() == "1\n")
        self.check("the watch over the trial began by itself",
                   "Started otad-selftest.service" in m.run("journalctl", "-b", "-u", "otad-selftest.service"),
                   m.run("journalctl", "-b", "-u", "otad-selftest.service"))
        m.wait("! test -e /var/lib/otad-installer/session")
        self.no_failed_units()
        told = m.run("journalctl", "-x", "-o", "verbose", "OTAD_EVENT=update-committed", f"OTAD_JOB_ID={job}")
        self.check("the journal has the commit with its fields", "OTAD_VERSION=1.1.0" in told and
                   f"Update {job} is committed" in m.run("journalctl", "-x", f"OTAD_JOB_ID={job}"), told)

    def step_watchdog(self):
        m = self.machine
        m.sh("mkdir -p /run/systemd/system/otad.service.d; "
             "printf '[Service]\\nWatchdogSec=2\\nRestartSec=100ms\\n' >/run/systemd/system/otad.service.d/quick.conf; "
             "systemctl daemon-reload; systemctl restart otad")
        pid = self.property("otad.service", "MainPID")
        m.sh(f"kill -STOP {pid}")
        m.wait(f"pid=$(systemctl show --value -p MainPID otad); [ $pid != 0 ] && [ $pid != {pid} ] && "
               "systemctl is-active --quiet otad", timeout=30)
        self.check("the watchdog ended it", "Watchdog timeout" in m.run("journalctl", "-b", "-u", "otad"))
        m.sh("rm -r /run/systemd/system/otad.service.d; systemctl daemon-reload; systemctl restart otad")
        self.cloud.wait_connected(THING, 30)

    def step_configuration_away(self):
        """For a moment, as a deployment has it that removes and copies: who connects then does not end the socket."""
        m = self.machine
        m.sh("systemctl stop otad.service otad-installer.service; mv /etc/otad/otad.conf /etc/otad/away; "
             "timeout 3 busctl --address=unix:path=/run/otad/installer.sock list || :")
        self.check("the socket stays", m.run("systemctl", "is-active", "otad-installer.socket").strip() == "active")
        m.sh("mv /etc/otad/away /etc/otad/otad.conf")
        m.wait("systemctl is-active --quiet otad-installer.service", timeout=30)
        m.run("systemctl", "start", "otad.service")
        self.cloud.wait_connected(THING, 30)
        self.no_failed_units()

    def step_upgrade(self):
        """What the operator has changed stays, what he has not is the new version's."""
        m = self.machine
        self.upgrade(**{"boot.conf": "# of the new version\n", "hook": "# of the new version\n"})
        self.check("the changed boot.conf stays",
                   m.path("/etc/otad/boot.conf").read_text() == "OTAD_CMDLINE=/var/lib/otad-boot/cmdline\n")
        self.check("the unchanged hook is the new one", "# of the new version" in m.path("/etc/otad/hook").read_text())
        self.cloud.wait_connected(THING, 30)
        self.update("app", APP.format(version="3").encode())
        self.no_failed_units()

    def step_upgrade_amid(self):
        """One update of a slot, and an upgrade of the package in each of its states that takes long."""
        m = self.machine
        m.write("/etc/otad/hook.d/hold", HOLD, 0o755)
        for stage in "activate", "selftest":
            m.write(f"/var/lib/gateway/hold/{stage}", "")
        # Without the restart that the upgrade is, this one would take minutes.
        slow = self.cloud.faults.on("http.reply", faults.slow(3000), times=1)
        image = make_image("1.2.0", 900_000)
        job = self.cloud.create_ota_update([THING], [OtaFile("rootfs.img", image, self.signer)], protocols=("HTTP",))
        state = "grep -qx state={} /var/lib/otad-installer/session"
        try:
            m.wait(state.format("downloading"))
            self.cloud.wait_until(lambda: slow.hits, 20, "the download")
            self.upgrade()
            m.wait("test -e /var/lib/otad-boot/at.activate && " + state.format("activating"))
            self.upgrade()
            m.wait(state.format("activating"))
            m.path("/var/lib/gateway/hold/activate").unlink()
            m.wait_restart()
            m.wait("test -e /var/lib/otad-boot/at.selftest && " + state.format("testing"))
            self.upgrade()
            m.wait(state.format("testing"))
            m.path("/var/lib/gateway/hold/selftest").unlink()
            execution = self.cloud.wait_for(job, "SUCCEEDED", 60)
        except Exception as error:
            raise AssertionError(f"{error}\n{self.journal()}") from None
        seen = [status for status, _ in itertools.groupby(execution.statuses)]
        self.check("the cloud saw one update", seen == ["QUEUED", "IN_PROGRESS", "SUCCEEDED"], seen)
        self.check("slot A runs", "rauc.slot=A" in m.path("/var/lib/otad-boot/cmdline").read_text())
        self.check("the slot holds the image", m.path("/srv/slots/a").read_bytes()[:len(image)] == image)
        self.no_failed_units()

    def step_token(self):
        """A key on a token, by the commands of getting-started.md, but that AWS is not here to sign; otad reaches it from
        within its sandbox, by what the example of a drop-in says of it."""
        m = self.machine
        m.write("/etc/apt/apt.conf.d/yes", 'APT::Get::Assume-Yes "true";\n')
        heading = "#### A key on a token or in a TPM"
        make, request = self.blocks("getting-started.md", heading)[:2]
        m.sh("cd /root\n" + make + request)
        csr = x509.load_pem_x509_csr(m.path("/root/device.csr").read_bytes())
        write_cert(m.path("/etc/otad/tls/device.pem.crt"), self.cloud.authority.issue(THING, csr.public_key()))
        m.path("/etc/otad/tls/device.pem.key").write_text("")       # of no use any more
        keys = self.blocks("getting-started.md", heading, "")[0]
        config = CONFIG.format(thing=THING, port=self.cloud.port).replace("broker: {", "broker: {\n" + keys)
        m.write("/etc/otad/otad.conf", config)
        example = m.path("/usr/share/doc/otad/examples/token.conf.example").read_text()
        m.write("/etc/systemd/system/otad.service.d/token.conf", re.sub("^#(?=.*softhsm)", "", example, flags=re.M))
        m.run("systemctl", "daemon-reload")
        m.run("systemctl", "restart", "otad.service")
        # otactl finds the key, too. While one process logs in, SoftHSM may show another one no token, for a moment.
        m.wait("otactl check 2>&1 | tee /dev/stderr | grep 'of that certificate'", timeout=10)
        self.update("app", APP.format(version="4").encode())
        self.no_failed_units()

    def step_remove(self):
        m = self.machine
        m.run("apt-get", "remove", "--yes", "--quiet", "otad")
        running = m.sh("cat /proc/[0-9]*/comm")
        self.check("nothing runs any more", "otad" not in running, running)
        self.check("removal leaves configuration and state",
                   m.path("/etc/otad/boot.conf").exists() and m.path("/var/lib/otad").exists())

    def step_purge(self):
        m = self.machine
        m.run("apt-get", "purge", "--yes", "--quiet", "--auto-remove", "otad", "ca-certificates", "openssl", *TOOLS,
              *TOKEN, *POLKIT, "sensible-utils")
        self.check("purge removes state", not m.path("/var/lib/otad").exists() and
                   not m.path("/var/lib/otad-installer").exists() and not m.path("/run/otad").exists())
        self.check("but no keys", m.path("/etc/otad/tls/device.pem.key").exists())
        m.sh("rm -r /etc/otad /etc/systemd/system/otad*.service.d /var/lib/gateway /var/lib/otad-boot/at.* "
             "/etc/apt/apt.conf.d/yes /root/device.csr /var/lib/softhsm "
             "/etc/polkit-1 /etc/xml")
        m.run("systemctl", "daemon-reload")
        # Users, the stand-in for an application, and what packages leave behind that apt had brought along.
        others = re.compile(r"/(etc/(passwd|group|g?shadow)-?$|opt/gateway/|etc/ssl|usr/lib/ssl|usr/share/man/man\d$|"
                            "(etc|usr/share|usr/local/share)/ca-certificates)")
        left = {path for path in self.listing() - self.before if not others.match(path)}
        self.check("nothing else is left", left == set(), " ".join(sorted(left)))
        self.no_failed_units()

"""Debian's own test runners over the packages, each in or with a clean tree: autopkgtest runs debian/tests, piuparts installs,
upgrades and purges. One method a step, in order, after those of life.py."""

import shutil
import subprocess

from .container import Container
from .life import TOP, build_packages, with_version


class Checks:
    def __init__(self, folder):
        self.folder = folder / "checks"
        self.folder.mkdir()
        self.packages = build_packages()
        self.machine = Container(self.folder)

    def close(self):
        self.machine.power_off()

    def step_piuparts(self):
        """Also an upgrade, from an older version that is put into the tree's archive."""
        debs = self.machine.path("/debs")
        for package in self.packages.values():
            shutil.copy(with_version(package, "0.0.1", self.folder), debs)
        index = next(debs.glob("dists/bookworm/main/binary-*/Packages"))
        index.write_bytes(subprocess.run(["dpkg-scanpackages", "--multiversion", "."], cwd=debs, check=True,
                                         capture_output=True).stdout)
        # piuparts writes a sources.list of its own, without the word that nothing there is signed.
        self.machine.write("/etc/apt/apt.conf.d/unsigned",
                           'Acquire::AllowInsecureRepositories "true";\nAPT::Get::AllowUnauthenticated "true";\n')
        done = subprocess.run(["piuparts", f"--existing-chroot={self.machine.root}", "--distribution=bookworm",
                               "--mirror=file:/debs main", "--do-not-verify-signatures", "--no-eatmydata",
                               *self.packages.values()], capture_output=True, text=True, timeout=580, cwd=self.folder)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

    def step_autopkgtest(self):
        m = self.machine
        m.power_on()
        for path in self.packages.values():
            shutil.copy(path, m.path("/debs"))
        shutil.copytree(TOP / "debian", m.path("/srv/source/debian"))
        m.run("apt-get", "install", "--yes", "--quiet", "autopkgtest")
        m.run("autopkgtest", "--no-built-binaries", *(f"/debs/{path.name}" for path in self.packages.values()), "/srv/source/",
              "--", "null", timeout=400)

"""The kill harness itself: that the shim sees what the kernel is asked for, and a few points of each kind of update.

All points: kill.py --long. A choice of them: kill.py, a step of scripts/test.
"""

import collections
import re

import pytest

from .kill import points
from .rig import CASES, Crash, CrashProgram, Rig
from .sweep import count_calls, read_calls

# What the kernel calls what the shim calls otherwise.
NAMES = {"pwrite64": "pwrite", "vfork": "posix_spawn", "clone": "posix_spawn", "clone3": "posix_spawn"}
TRACED = "execve,write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync,sync_file_range,ftruncate,fallocate,fchmod," \
         "fchown,chmod,rename,renameat,renameat2,unlink,unlinkat,link,linkat,mkdir,mkdirat,symlink,symlinkat," \
         "truncate," \
         "io_submit,vfork,clone,clone3,openat,creat,bind,listen,kill,sendfile,splice,copy_file_range,pwritev,pwritev2,sendmmsg"


def kernel_calls(path):
    """What strace saw after the program itself had begun."""
    counts, n_execs = collections.Counter(), 0
    for line in path.read_text(errors="replace").splitlines():
        found = re.match(r"(\w+)\((.*)", line)
        if not found:
            continue
        name, rest = found.groups()
        n_execs += name == "execve"
        if n_execs < 2 or name == "execve":
            continue
        if name == "openat" and not re.search("O_CREAT|O_TRUNC", rest):
            continue
        if name == "mkdir" and "EEXIST" in rest:
            continue
        # The log, the shim's own record, and what wakes up the process itself.
        if name == "write" and re.match(r"(\d+<anon_inode:|1<|2<|1000<)", rest):
            continue
        if name == "openat" and "/calls" in rest:
            continue
        if name == "io_submit":
            name = "io_" + re.search(r"IOCB_CMD_(\w+)", rest)[1].lower()
            if name == "io_pread":
                continue
        counts[NAMES.get(name, name)] += 1
    return counts


@pytest.mark.parametrize("case", ["ab-https", "file-mqtt"])
def test_the_shim_misses_nothing(build, shim, tmp_path, monkeypatch, case):
    """Both count the calls of the same run, up to where otad is told to end; what is in only one of them is a hole."""
    def start(self, note="", original=CrashProgram.start):
        trace = tmp_path / f"{self.name}-{self.n_starts + 1}"
        self.path = "/usr/bin/strace"
        command, self._command = self._command, [str(self._command[0]), *self._command[1:]]
        variables, self._variables = self._variables, ["-D", "-y", "-o", str(trace), "-e", f"trace={TRACED}", "env",
                                                       *self._variables]
        original(self, note)
        self._variables, self._command = variables, command
    monkeypatch.setattr(CrashProgram, "start", start)
    outcome = Rig(CASES[case], None, build, shim=shim).run()
    assert not outcome.problems, outcome.report
    seen = collections.Counter()
    for call in read_calls(outcome.full_log):
        if call.name != "connect":      # the C library makes some itself, to ask for names
            seen[call.program, call.start, call.name] += 1
    for path in tmp_path.glob("otad*-*"):
        program, _, start = path.name.rpartition("-")
        kernel = kernel_calls(path)
        ours = collections.Counter({n: c for (p, s, n), c in seen.items() if (p, str(s)) == (program, start)})
        assert kernel == ours, f"{path.name}: only the kernel: {kernel - ours}, only the shim: {ours - kernel}"
        assert sum(kernel.values()) > 20


@pytest.mark.parametrize("case", ["ab-mqtt", "ab-https", "file-mqtt", "file-https"])
def test_some_points(build, shim, case):
    calls, _ = count_calls(case, build, shim)
    found = [crash for _, crash in points(calls, False)]
    for crash in found[3::len(found) // 4]:
        outcome = Rig(CASES[case], crash, build, shim=shim).run()
        assert not outcome.problems, f"{crash}: {outcome.problems}\n{outcome.report}"
        assert outcome.reached


def test_harm_is_found(build, shim):
    """That the demands can fail: a byte of the running slot that nobody of ours has touched."""
    def wreck(gateway):
        with open(gateway.slots["A"], "r+b") as slot:
            slot.seek(1000)
            slot.write(b"\0\0\0\0\0\0\0\0")
    outcome = Rig(CASES["ab-https"], Crash("otad-installer", 1, 30), build, shim=shim, wreck=wreck).run()
    assert outcome.reached and any("slot A" in problem for problem in outcome.problems)

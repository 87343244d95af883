"""The power-cut harness itself: the model of what a storage may lose, and a few cuts.

All cuts: power.py --long. A choice of them: power.py, a step of scripts/test.
"""

import os

import pytest

from .power import choose
from .rig import CASES, Rig
from .storage import Storage


def record(*parts):
    return b"".join(p if isinstance(p, bytes) else p.encode() + b"\n" for p in parts)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_bytes(b"old a")
    return tmp_path / "files"


def contents(disk):
    return {os.path.basename(path): data for path, (data, _, _) in disk.items()}


def write(inode, data, offset=0):
    return f"+w {inode} {offset} {len(data)}\n".encode() + data


def test_replaced_without_any_sync(folder):
    """The classic: a new file, renamed over the old one. Every mixture may be there, also the empty file."""
    number = folder.stat().st_ino
    storage = Storage([folder])
    storage.play(record(f"+c {number} .new 7 600", write(7, b"new"), f"+r {number} .new {number} a"))
    found = [contents(d) for d in storage.ends().values()]
    assert {"a": b"new"} in found                           # all kept
    assert {"a": b"old a"} in found                         # all lost
    assert {"a": b""} in found                              # the names, not the data
    assert {"a": b"old a", ".new": b"new"} in found         # the rename alone lost


def test_replaced_as_it_should_be(folder):
    number = folder.stat().st_ino
    storage = Storage([folder])
    storage.play(record(f"+c {number} .new 7 600", write(7, b"new"), "+s 7", f"+r {number} .new {number} a"))
    found = [contents(d) for d in storage.ends().values()]
    assert all(d["a"] in (b"old a", b"new") for d in found)
    storage.play(record(f"+s {number}"))
    assert [contents(d) for d in storage.ends().values()] == [{"a": b"new"}]


def test_data_is_torn_at_sectors(folder):
    number = (folder / "a").stat().st_ino
    storage = Storage([folder])
    storage.play(record(write(number, b"x" * 10000)))
    found = {contents(d)["a"] for d in storage.ends().values()}
    assert found == {b"x" * 10000, b"old a", b"x" * 4608, b"x" * 4096}
    storage.play(record(f"+d {number}"))
    assert {contents(d)["a"] for d in storage.ends().values()} == {b"x" * 10000}


def test_fdatasync_does_not_keep_the_mode(folder):
    number = (folder / "a").stat().st_ino
    storage = Storage([folder])
    os.chmod(folder / "a", 0o600)
    storage = Storage([folder])
    storage.play(record(f"+a {number} 755", f"+d {number}"))
    assert {mode for d in storage.ends().values() for _, mode, _ in d.values()} == {0o600, 0o755}
    storage.play(record(f"+s {number}"))
    assert {mode for d in storage.ends().values() for _, mode, _ in d.values()} == {0o755}


def test_links_and_removal(folder):
    """As activation has it: a link to the old, the new one over it, and then the link away."""
    number = folder.stat().st_ino
    storage = Storage([folder])
    storage.play(record(f"+c {number} .new 7 600", write(7, b"new"), "+s 7", f"+l {number} a {number} .old",
                        f"+s {number}", f"+r {number} .new {number} a"))
    found = [contents(d) for d in storage.ends().values()]
    assert {".old": b"old a", ".new": b"new", "a": b"old a"} in found
    assert {".old": b"old a", "a": b"new"} in found and len(found) == 2
    storage.play(record(f"+s {number}", f"+u {number} .old"))
    found = [contents(d) for d in storage.ends().values()]
    assert {"a": b"new"} in found and {"a": b"new", ".old": b"old a"} in found


def test_a_disk_is_laid_out(folder):
    number = folder.stat().st_ino
    storage = Storage([folder])
    storage.play(record(f"+c {number} b 7 640", write(7, b"bb"), f"+l {number} b {number} c", f"+u {number} a"))
    storage.lay_out(storage.ends()["kept"])
    assert storage.differences() == [] and not (folder / "a").exists()
    assert (folder / "b").samefile(folder / "c") and (folder / "b").stat().st_mode & 0o777 == 0o640
    (folder / "b").write_bytes(b"bx")
    assert len(storage.differences()) == 2


@pytest.mark.parametrize("case", ["ab-mqtt", "ab-https", "file-mqtt", "file-https"])
def test_some_cuts(build, shim, case):
    found, _, _ = choose(case, build, shim, False)
    for crash in found[3::len(found) // 4]:
        outcome = Rig(CASES[case], crash, build, shim=shim).run()
        assert not outcome.problems, f"{crash}: {outcome.problems}\n{outcome.report}"
        assert outcome.reached


def test_a_storage_that_never_syncs_is_found_out(build, shim):
    """That the harness can fail: with a storage that takes no notice of fsync, a record is found empty."""
    problems = []
    for crash in choose("file-https", build, shim, True)[0]:
        if crash.end == "kept" and crash.call in range(40, 100, 12):
            crash = type(crash)(**{**crash.__dict__, "end": "names"})
            problems += Rig(CASES["file-https"], crash, build, shim=shim, deaf="sde").run().problems
    assert problems

"""What test_replay.py trusts in: a log that QEMU has written is read as it was meant, and cuts lose what they may lose."""

import pytest

from . import image, replay

pytestmark = pytest.mark.quick
KIB = 1024


@pytest.fixture
def log(tmp_path):
    """Four writes and two flushes: a b | c d |; the last two overlap."""
    disk, log = tmp_path / "disk", tmp_path / "log"
    with open(disk, "wb") as f:
        f.truncate(64 * KIB)
    log.touch()
    image.run("qemu-io", "--image-opts", f"driver=blklogwrites,file.driver=file,file.filename={disk},log.driver=file,"
              f"log.filename={log}", "-c", "write -P 0x61 0 4k", "-c", "write -P 0x62 8k 4k", "-c", "flush",
              "-c", "write -P 0x63 4k 4k", "-c", "write -P 0x64 4k 512", "-c", "flush")
    return disk, log


def found(parts):
    """What stands at 0, at 4 KiB, at 4.5 KiB, at 8 KiB."""
    content = parts.content["all"]
    return "".join(chr(content[at] or ord("-")) for at in (0, 4 * KIB, 4 * KIB + 512, 8 * KIB))


def test_log_of_qemu(log):
    disk, path = log
    writes = [w for w in replay.read_log(path) if w.data or w.flush]
    assert [(w.start, len(w.data), w.data[:1]) for w in writes if w.data] == [
        (0, 4 * KIB, b"a"), (8 * KIB, 4 * KIB, b"b"), (4 * KIB, 4 * KIB, b"c"), (4 * KIB, 512, b"d")]
    assert [bool(w.data) for w in writes if w.data or w.flush][:3] == [True, True, False]
    parts = replay.Parts({"all": (0, 64 * KIB)}, {"all": bytearray(64 * KIB)})
    for write in writes:
        write.apply(parts)
    assert bytes(parts.content["all"]) == disk.read_bytes()


def test_cuts(log):
    _, path = log
    parts = replay.Parts({"all": (0, 64 * KIB)}, {"all": bytearray(64 * KIB)})
    seen = [(cut.what, found(cut.parts)) for cut in replay.cuts(list(replay.read_log(path)), parts, seed=1)]
    assert [state for what, state in seen if what == "kept"] == ["a---", "a--b", "accb", "adcb"]
    assert [state for what, state in seen if what == "lost"] == ["----", "----", "a--b", "a--b"]
    some = [state for what, state in seen if what == "some"]
    assert len(some) == 2 and some[1] in ("a--b", "accb", "adcb", "ad-b")


def test_chosen_cuts(log):
    """All of one part, and a few of the other."""
    writes = list(replay.read_log(log[1]))
    places = {"first": (0, 4 * KIB), "rest": (4 * KIB, 60 * KIB)}
    parts = replay.Parts(places, {name: bytearray(size) for name, (_, size) in places.items()})
    chosen = replay.choose(writes, parts, ("first",), 1, seed=1)
    assert len(chosen) == 2 and min(chosen) == 1
    assert {cut.number for cut in replay.cuts(writes, parts, 1, chosen)} == chosen


def test_saved_as_it_was(tmp_path):
    content = bytearray(256 * KIB)
    content[70000:70003] = b"xyz"
    assert replay.save(content, tmp_path / "part").read_bytes() == bytes(content)


def test_something_else(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(bytes(4096))
    with pytest.raises(ValueError):
        list(replay.read_log(path))

"""Images for the simulated gateway: a few lines that say how the software behaves, then bytes that fill the size.

    IMAGE_VERSION=1.1.0
    BOOT=panic          the machine never comes up in it; "no-network": it comes up, the broker cannot be reached
    SELFTEST=fail       the hook's selftest stage fails; "crash": it dies of a signal
    (an empty line)

What has no IMAGE_VERSION does not boot. Kept free of imports that take time: the hook uses it, too.
"""

import random

HEADER_MAX = 512


def make_image(version, size=256 * 1024, *, boot=None, selftest=None, seed=0):
    """An image of exactly `size` bytes. The same arguments make the same bytes; another version, other bytes."""
    lines = [f"IMAGE_VERSION={version}"]
    if boot:
        lines.append(f"BOOT={boot}")
    if selftest:
        lines.append(f"SELFTEST={selftest}")
    header = ("\n".join(lines) + "\n\n").encode("ascii")
    if len(header) > size:
        raise ValueError(f"an image with this header has at least {len(header)} bytes")
    return header + random.Random(f"{version} {boot} {selftest} {seed}").randbytes(size - len(header))


def read_header(path):
    """What an image says about itself, as a dict; what is no header makes an empty one."""
    with open(path, "rb") as file:
        text = file.read(HEADER_MAX).split(b"\n\n", 1)[0]
    pairs = (line.split(b"=", 1) for line in text.split(b"\n") if line.count(b"=") == 1)
    return {k.decode("latin-1"): v.decode("latin-1") for k, v in pairs}

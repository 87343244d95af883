#!/usr/bin/python3
"""Boots a gateway with otad in a virtual machine, beside a local stand-in for AWS IoT, and opens its console."""

import argparse
import os
import select
import shutil
import sys
import termios
import tty
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cloud.control import Control           # noqa: E402
from vm import image, loaders               # noqa: E402
from vm.machine import Lost, missing        # noqa: E402
from vm.scene import THING, Scene           # noqa: E402

END, CUT = b"\x1d", b"\x1c"        # Ctrl-] and Ctrl-\
UPDATES = {"rootfs-2.0.0.img": ("2.0.0", None), "rootfs-3.0.0.img": ("3.0.0", None),
           "rootfs-panics.img": ("4.0.0", "kernel_panics")}
HELLO = """The gateway starts; in half a minute or so a shell comes up here. Ctrl-\\ cuts its power and switches it on
again. Ctrl-] ends all.

To update it, in another terminal:

  tests/cloud/otad-cloud queue --dir {folder}/cloud --thing {thing} --protocol https \\
          --name rootfs.img --file {folder}/rootfs-2.0.0.img

and here, to see it happen: otactl watch

"""


def converse(machine):
    """What is typed goes to the machine's console, what that says to the terminal, until Ctrl-] or its end."""
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    machine.watcher = lambda data: os.write(stdout, data)
    while machine.running:
        if not select.select([stdin], [], [], 0.5)[0]:
            continue
        data = os.read(stdin, 1024)
        if not data or END in data:
            return
        if CUT in data:
            machine.cut()
            os.write(stdout, b"\r\n---- power cut ----\r\n")
            machine.power_on()
        else:
            machine.type(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path("/tmp/otad-vm"),
                        help="for the disk, the images and the cloud; made anew (default: %(default)s)")
    parser.add_argument("--loader", choices=sorted(loaders.ALL), default="grub", help="default: %(default)s")
    options = parser.parse_args()
    folder, loader = options.dir, options.loader
    if missing():
        print(f"scripts/vm: {missing()}", file=sys.stderr)
        return 1
    if (folder / "disk").exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    print("Making the images; the first time this takes a few minutes.", flush=True)
    for name, (version, defect) in UPDATES.items():
        shutil.copy(image.rootfs(version, defect, loader=loader), folder / name)
    scene = Scene(folder, image.rootfs("1.0.0", loader=loader), loader=loader)
    control = Control(scene.cloud)
    terminal = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
    try:
        print(HELLO.format(folder=folder, thing=THING), flush=True)
        scene.machine.power_on()
        if terminal:
            tty.setraw(sys.stdin)
        converse(scene.machine)
    except (Lost, KeyboardInterrupt) as error:
        print(f"\r\nscripts/vm: {error}\r")
        return 1
    finally:
        if terminal:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, terminal)
        control.close()
        scene.close()
    print("\nswitched off")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The boot loader of the simulated gateway: which slot starts at power-on, with trials as GRUB's ORDER, OK and TRY.

The same folder of one-line files is read and set by tests/bin/boot-file, which is what otad-installer calls.
"""

from pathlib import Path

SLOTS = ("A", "B")


class Loader:
    """`tries`: how often a slot that is not known to be good is started before the other one is."""

    def __init__(self, folder, tries=1):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        if not (self.folder / "ORDER").exists():
            self._put("tries", tries)
            for slot in SLOTS:
                self._put(f"{slot}.ok", 1)
                self._put(f"{slot}.try", 0)
            self._put("ORDER", " ".join(SLOTS))
            self._put("current", SLOTS[0])

    def _put(self, name, value):
        new = self.folder / f"{name}.new"
        new.write_text(f"{value}\n")
        new.rename(self.folder / name)

    def _get(self, name):
        return (self.folder / name).read_text().strip()

    def choose(self):
        """What a start does: the first slot of the order that is good or has a trial left, which is then used up.
        None: nothing can be started, the machine is dead."""
        for slot in self.order:
            if self.state(slot) == "good":
                return slot
            left = int(self._get(f"{slot}.try"))
            if left > 0:
                self._put(f"{slot}.try", left - 1)
                return slot
        return None

    def started(self, slot):
        self._put("current", slot)

    @property
    def order(self):
        return self._get("ORDER").split()

    @property
    def current(self):
        return self._get("current")

    @property
    def primary(self):
        """What would be started next."""
        for slot in self.order:
            if self.state(slot) == "good" or int(self._get(f"{slot}.try")) > 0:
                return slot
        return None

    def state(self, slot):
        return "good" if self._get(f"{slot}.ok") == "1" else "bad"

    def calls(self):
        """Every call of the boot script so far."""
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def let_fail(self, *calls):
        """These calls of the boot script fail from now on; none: all work again."""
        (self.folder / "fail").write_text("".join(f"{c}\n" for c in calls))

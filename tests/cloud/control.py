"""Operating a running stand-in from another process: JSON lines over a unix socket in its folder.

One request a line, `{"do": "queue", ...}`; one answer a line, `{"ok": true, ...}` or `{"ok": false, "error": text}`.
"""

import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path

from .job_queue import JobError
from .ota import OtaFile

SOCKET = "control.sock"
PROTOCOLS = {"mqtt": ["MQTT"], "https": ["HTTP"], "both": ["MQTT", "HTTP"]}


class ControlError(RuntimeError):
    """The stand-in said no, or there is none."""


class Control:
    """Listens until close(); every request runs in the accepting thread, one after another."""

    def __init__(self, cloud):
        self._cloud = cloud
        self.path = cloud.folder / SOCKET
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        os.chmod(self.path, 0o600)
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def close(self):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join(5)
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _run(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer, peer.makefile("rw") as lines:
                peer.settimeout(10)
                try:
                    for line in lines:
                        lines.write(json.dumps(self.answer(line)) + "\n")
                        lines.flush()
                except OSError:
                    continue

    def answer(self, line):
        try:
            request = json.loads(line)
            operation = getattr(self, "_do_" + request.pop("do").replace("-", "_"), None)
            if not operation:
                raise JobError("no such operation")
            return {"ok": True, **operation(**request)}
        except (JobError, ValueError, TypeError, KeyError, OSError) as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:      # noqa: the person asking must hear of it, and so must the record
            self._cloud.record.failure(error, "control")
            return {"ok": False, "error": f"the stand-in failed: {error!r}"}

    def _do_add_thing(self, thing):
        return describe_thing(self._cloud.add_thing(thing))

    def _do_queue(self, thing, file, name=None, protocol="both", sign_with="codesign", cert_name=None,
                  timeout_minutes=None, retries=None, expires=1800):
        if thing not in self._cloud.things:
            raise JobError(f"no such thing: {thing} (there are: {', '.join(self._cloud.things) or 'none'})")
        signer = self._cloud.add_signer(sign_with) if sign_with else None
        image = OtaFile(name or Path(file).name, Path(file), signer, certfile=cert_name)
        # A device remembers the jobs it has had: an id must not come again when the stand-in is started anew.
        update_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        job = self._cloud.create_ota_update(thing, [image], PROTOCOLS[protocol], update_id=update_id,
                                            timeout_minutes=timeout_minutes, url_expires=expires,
                                            retries={"ALL": retries} if retries else None)
        return {"job": job.id, "signer_certificate": str(signer.path) if signer else None}

    def _do_queue_document(self, thing, document, job_id=None):
        job_id = job_id or f"job-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        return {"job": self._cloud.create_job(thing, document, job_id=job_id).id}

    def _do_cancel(self, job, force=False):
        self._cloud.cancel(job, force)
        return {}

    def _do_delete(self, job, force=False):
        self._cloud.delete(job, force)
        return {}

    def _do_status(self):
        self._cloud.sync()
        return {"things": {name: self._cloud.conduct.connected(name) for name in self._cloud.things},
                "report": self._cloud.report(), "violations": [str(v) for v in self._cloud.violations]}


def describe_thing(thing):
    return {"thing": thing.name, "root_ca": str(thing.ca), "cert": str(thing.cert), "key": str(thing.key)}


def describe(cloud):
    """What cloud.json holds: everything a device needs to know, and whoever wants to script this."""
    return {"endpoint": cloud.host, "port": cloud.port, "https_port": cloud.https.port, "root_ca": str(cloud.ca),
            "https_ca": str(cloud.https_ca), "control": str(cloud.folder / SOCKET),
            "messages": str(cloud.folder / "messages.jsonl"),
            "things": {name: describe_thing(t) for name, t in cloud.things.items()}}


def call(folder, do, **arguments):
    """Asks the stand-in running in `folder`. Returns its answer; ControlError if it refuses or is not there."""
    path = Path(folder) / SOCKET
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.settimeout(60)
            sock.connect(str(path))
        except OSError as error:
            raise ControlError(f"no stand-in runs in {folder} ({error}); start one with: otad-cloud start --dir "
                               f"{folder}") from None
        with sock.makefile("rw") as lines:
            lines.write(json.dumps({"do": do, **arguments}) + "\n")
            lines.flush()
            answer = json.loads(lines.readline() or '{"ok": false, "error": "no answer"}')
    if not answer.pop("ok"):
        raise ControlError(answer["error"])
    return answer

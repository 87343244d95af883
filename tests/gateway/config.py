"""otad.conf for a simulated gateway: short waits, everything in one folder, written from plain Python values."""

import getpass
import json


def defaults(gateway):
    """As a person would write it, but for times that suit a test."""
    folder, thing, cloud = gateway.folder, gateway.thing, gateway.cloud
    return {
        "thing-name": thing.name,
        "broker": {
            "endpoint": "localhost", "port": gateway.proxy.port,
            "root-ca": str(thing.ca), "cert": str(thing.cert), "key": str(thing.key),
            "connect-timeout-sec": 5, "answer-timeout-sec": 1,
            "backoff-base-msec": 50, "backoff-cap-sec": 1, "stable-sec": 1,
        },
        "jobs": {"refresh-sec": 10, "progress-sec": 1, "progress-percent": 10},
        "download": {"https-ca": str(cloud.https_ca), "block-bytes": 16384, "stall-sec": 2, "attempts": 3,
                     "give-up-sec": 0, "checkpoint-bytes": 1 << 20},
        "signing": {"trust-store": str(gateway.trust)},
        "version": {"file": str(gateway.release), "key": "IMAGE_VERSION"},
        "targets": targets(gateway),
        "hook": {"script": str(folder / "hook"), "timeout-sec": 10, "retry-sec": 1, "give-up-sec": 3},
        "boot": {"timeout-sec": 10},
        "selftest": {"timeout-sec": 15},
        "reboot": {"timeout-sec": 10},
        "installer": {"peer-user": getpass.getuser()},
        "paths": {"state": str(folder / "state"), "installer-state": str(folder / "installer-state"),
                  "runtime": str(gateway.runtime), "boot-id": str(folder / "boot-id")},
        "control": {"bus": gateway.bus_address},
    }


def targets(gateway):
    folder, out = gateway.folder, []
    if gateway.slots:
        out.append({"name": "rootfs", "type": "ab", "match": "rootfs.img",
                    "slots": [{"name": name, "device": str(path)} for name, path in gateway.slots.items()],
                    "boot": str(folder / "boot-script")})
    for name, path in gateway.files.items():
        out.append({"name": name, "type": "file", "match": name, "path": str(path), "mode": "0755",
                    "version": {"file": str(folder / f"{name}-release"), "key": "VERSION"}})
    return out


def merge(base, changes):
    """`changes` over `base`, group by group; None takes a key away."""
    out = dict(base)
    for key, value in (changes or {}).items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merge(out[key], value)
        else:
            out[key] = value
    return out


def render(settings, indent=""):
    """libconfig's format: a dict is a group, a list of dicts a list, another list an array."""
    return "".join(f"{indent}{key}{': ' if isinstance(value, dict) else ' = '}{_value(value, indent)};\n"
                   for key, value in settings.items())


def _value(value, indent):
    inner = indent + "        "
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}L" if value > 0x7fffffff else str(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, dict):
        return "{\n" + render(value, inner) + indent + "}"
    if all(isinstance(v, dict) for v in value):
        return "(\n" + ",\n".join(inner + _value(v, inner) for v in value) + "\n" + indent + ")"
    return "[ " + ", ".join(_value(v, indent) for v in value) + " ]"

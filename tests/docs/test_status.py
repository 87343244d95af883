"""docs/status.schema.json and docs/status.md: what a running otad shows is what they say."""

import json
import re

import pytest

from e2e.scene import hold
from gateway import make_image
from pages import DOCS, read

SCHEMA, HISTORY, STATS = (json.loads((DOCS / f"{name}.schema.json").read_text())
                          for name in ("status", "history", "stats"))
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}


def is_of(value, name):
    return isinstance(value, TYPES[name]) and not (name == "integer" and isinstance(value, bool))


def faults_of(value, schema, where="status"):
    """What the schema does not allow; as much of JSON Schema as it uses."""
    unknown = set(schema) - {"$schema", "title", "description", "type", "enum", "const", "minimum", "maximum",
                             "properties", "required", "items"}
    assert not unknown, f"this validator does not know {unknown}"
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(is_of(value, t) for t in types):
        return [f"{where} is {value!r}, not {types}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where} is {value!r}")
    if "const" in schema and value != schema["const"]:
        found.append(f"{where} is {value!r}")
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{where} is {value}")
    if isinstance(value, dict):
        found += [f"{where} has no {name}" for name in schema.get("required", []) if name not in value]
        for name, sub in schema.get("properties", {}).items():
            if name in value:
                found += faults_of(value[name], sub, f"{where}.{name}")
        # The schema allows more members; the page of this version has to name them all.
        if "properties" in schema:
            found += [f"{where}.{name} is not documented" for name in value if name not in schema["properties"]]
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += faults_of(item, schema.get("items", {}), f"{where}[{index}]")
    return found


def status(scene):
    done = scene.gateway.otactl("status", "--json")
    assert done.stdout, done.stderr
    value = json.loads(done.stdout)
    assert faults_of(value, SCHEMA) == []
    return value


def test_the_validator_finds_faults():
    example = json.loads(re.search(r"```json\n(.*?)```", read("status.md"), re.S)[1])
    assert faults_of(example, SCHEMA) == []
    for name, bad in (("state", "flying"), ("connected", 1), ("schema", 2), ("unsent_final_statuses", -1),
                      ("job", {"id": "x"}), ("targets", [{}]), ("thing", None), ("download", {"percent": 101})):
        assert faults_of({**example, name: bad}, SCHEMA), name
    assert faults_of({**example, "more": 1}, SCHEMA)
    del example["next"]
    assert faults_of(example, SCHEMA)


def test_the_page_has_every_member():
    page = read("status.md").split("\n# ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.M)
    assert [name for name, _ in rows] == list(SCHEMA["properties"])
    for name, text in rows:
        sub = SCHEMA["properties"][name]
        for member in {**sub.get("properties", {}), **sub.get("items", {}).get("properties", {})}:
            assert f"`{member}`" in text or f'"{member}"' in page, f"{name}.{member}"


@pytest.mark.parametrize("protocol", ["https", "mqtt"])
def test_a_running_otad_shows_it(make_scene, protocol):
    scene = make_scene()
    scene.gateway.wait((scene.gateway.runtime / "control.sock").exists, 10, "otad's socket")
    scene.gateway.wait(lambda: status(scene)["connected"], 10, "connection")
    idle = status(scene)
    assert idle["state"] == "idle" and idle["job"] is None and idle["thing"] == "gateway-1" and idle["last"] is None

    image = make_image("1.1.0", 400_000)
    let_go = hold(scene, protocol, 131072)
    job = scene.update(image, protocol)
    scene.gateway.wait(lambda: (status(scene)["download"] or {}).get("held"), 10, "first bytes")
    now = status(scene)
    assert now["state"] == "downloading" and now["job"] == {"id": job.id, "attempt": 1}
    assert now["download"]["protocol"] == protocol and now["download"]["total"] == len(image)
    if protocol == "mqtt":
        assert now["download"]["stream"]["blocks"] > 0
    else:
        assert now["download"]["stream"] is None
    assert now["targets"][0]["target"] == "rootfs" and now["targets"][0]["slot"] == "B"
    let_go()
    scene.wait(job, "SUCCEEDED")
    scene.wait_idle()
    scene.gateway.wait(lambda: status(scene)["state"] == "idle", 10, "end")
    assert status(scene)["last"]["status"] == "succeeded"


def test_a_failed_job_is_shown(make_scene):
    scene = make_scene()
    image = make_image("1.1.0", 400_000)
    job = scene.update(image, file={"signature": "MEUCIDNk"})
    scene.wait(job, "FAILED")
    scene.gateway.wait(lambda: status(scene)["last"], 10, "end")
    last = status(scene)["last"]
    assert last["job"] == job.id and last["error"] == "signature-malformed"
    assert last["status"] in ("failed", "rejected") and last["detail"]


def test_the_page_has_every_member_of_an_entry():
    section = read("status.md").split("# The history as JSON")[1].split("\n# ")[0]
    example = json.loads(re.search(r"```json\n(.*?)```", section, re.S)[1])
    assert faults_of(example, HISTORY) == []
    entry = HISTORY["properties"]["entries"]["items"]["properties"]
    assert re.findall(r"^\| `(\w+)` \|", section, re.M) == list(entry)
    assert list(example["entries"][0]) == list(entry)
    for name, bad in (("who", "me"), ("size", -1), ("targets", None), ("result", "lost"), ("error", "no-word")):
        assert faults_of({"schema": 1, "entries": [{**example["entries"][0], name: bad}]}, HISTORY), name


def test_the_page_has_the_counters():
    section = read("status.md").split("# The counters as JSON")[1]
    example = json.loads(re.search(r"```json\n(.*?)```", section, re.S)[1])
    assert faults_of(example, STATS) == [] and list(example) == list(STATS["properties"])


def test_history_and_counters_of_a_running_otad(make_scene):
    scene = make_scene()
    scene.wait(scene.update(make_image("1.1.0", 50_000), "mqtt"), "SUCCEEDED")
    scene.wait_idle()
    scene.wait(scene.update(make_image("1.0.5", 50_000)), "FAILED")
    scene.wait_idle()
    scene.gateway.wait(lambda: status(scene)["last"], 10, "end")
    history = json.loads(scene.gateway.otactl("history", "--json").stdout)
    assert faults_of(history, HISTORY) == []
    assert [e["error"] for e in history["entries"]] == [None, "version-older"]
    assert faults_of(json.loads(scene.gateway.otactl("stats", "--json").stdout), STATS) == []

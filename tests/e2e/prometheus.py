"""A strict reader of the text that Prometheus reads. Source: Prometheus, "Exposition formats", text format 0.0.4, and
"Metric and label naming"."""

import re
from dataclasses import dataclass, field

NAME = r"[a-z][a-z0-9_]*"
LABEL = rf'{NAME}="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9]+(?:\.[0-9]+)?)")
UNITS = ("_seconds", "_bytes", "_info")


@dataclass
class Family:
    type: str
    help: str
    samples: dict = field(default_factory=dict)     # ((label, value), ...) -> number


def unescape(text):
    return re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), text)


def parse(text):
    """name -> Family. AssertionError where the text is not as it must be."""
    assert text.endswith("\n") and "\r" not in text
    families, current, pending = {}, None, None
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            _, _, name, help_text = line.split(" ", 3)
            assert re.fullmatch(NAME, name) and name not in families and help_text.endswith("."), line
            pending = (name, help_text)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert pending and pending[0] == name and kind in ("gauge", "counter"), line
            assert name.endswith("_total") == (kind == "counter"), line
            current, pending = name, None
            families[name] = Family(kind, help_text)
        else:
            found = SAMPLE.fullmatch(line)
            assert found and found[1] == current and not pending, line
            labels = tuple((k, unescape(v)) for k, v in re.findall(rf'({NAME})="((?:[^"\\]|\\.)*)"', found[2] or ""))
            assert len(dict(labels)) == len(labels) and labels not in families[current].samples, line
            assert families[current].type == "gauge" or float(found[3]) >= 0, line
            families[current].samples[labels] = float(found[3])
    assert not pending
    for name, family in families.items():
        keys = {tuple(k for k, _ in labels) for labels in family.samples}
        assert len(keys) <= 1, f"{name}: samples with different labels"
        # A unit in the name is the last word, but for _total; times are seconds and sizes are bytes.
        assert not re.search(r"_(msec|usec|ms|kb|minutes|days|percent)(_|$)", name), name
        if name.endswith("_info"):
            assert set(family.samples.values()) <= {1.0}, name
    return families


def value(families, name, **labels):
    """The sample with just these labels, in any order."""
    return {frozenset(k): v for k, v in families[name].samples.items()}[frozenset(labels.items())]

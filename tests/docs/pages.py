"""Reading docs/*.md: headings, tables, links, and the shell blocks that tests run.

A block is run where a comment stands in the line before it:

  <!-- run -->              it must end with status 0
  <!-- run: TEXT -->        and TEXT must be in what it prints
  <!-- run: terminal -->    it is left running, as in a terminal of its own
  <!-- wait: TEXT -->       it is run again and again until it prints TEXT
  <!-- file: NAME -->       it is no command but the file NAME
"""

import re
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
DOCS = REPO / "docs"


@dataclass
class Block:
    what: str           # "run", "wait", ...
    text: str           # what follows the colon; ""
    code: str
    line: int


def read(name):
    return (DOCS / name).read_text()


def pages():
    return sorted(DOCS.glob("*.md"))


def blocks(name):
    marked = re.compile(r"^<!-- (run|wait|file|sign|aws|config)(?:: (.*?))? -->\n```\w*\n(.*?)^```$", re.M | re.S)
    text = read(name)
    return [Block(m[1], m[2] or "", m[3], text.count("\n", 0, m.start()) + 3) for m in marked.finditer(text)]


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def headings(text):
    return re.findall(r"^#+ (.+)$", without_code(text), re.M)


def anchor(heading):
    """As the usual renderers make it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def table_rows(text):
    """Every row of every table, as lists of cells; heads and rules left out."""
    rows = []
    for line in without_code(text).splitlines():
        if line.startswith("|") and not re.fullmatch(r"[|\-: ]+", line):
            rows.append([c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line.strip("|"))])
    return rows

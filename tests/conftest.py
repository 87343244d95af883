"""What tests of every folder share: where the programs are, gateways that end with their test, and a count of cases."""

import collections
import os
from pathlib import Path

import pytest

# What the cases are called that a file's tests try, in the closing lines.
CASES = {"faults/test_documents.py": "bad inputs", "faults/": "faults", "hostile/": "attacks"}


def pytest_addoption(parser):
    parser.addoption("--build", default=os.environ.get("OTAD_BUILD", "build"),
                     help="meson's build folder with the programs (default: OTAD_BUILD, or build)")


@pytest.fixture(scope="session")
def build(request):
    folder = Path(request.config.getoption("--build")).absolute()
    if not (folder / "src" / "agent" / "otad").exists():
        pytest.fail(f"there is no otad in {folder}: build it, or say where it is with OTAD_BUILD")
    return folder


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, f"report_{call.when}", outcome.get_result())


@pytest.fixture
def keep(request):
    """keep(thing): closed when the test ends, all of them whatever happens; its report is shown where the test failed,
    else its own check must hold as well."""
    things = []

    def keeper(thing):
        things.append(thing)
        return thing
    yield keeper
    call = getattr(request.node, "report_call", None)
    failed = call is None or call.failed
    errors = []
    for thing in things:
        try:
            thing.close()
            if not failed:
                thing.check()
        except Exception as error:      # noqa: the others are to be closed, too
            errors.append(error)
        if failed or errors:
            print(thing.report())
    if errors:
        raise errors[0]


@pytest.fixture
def tally(request):
    """tally(n): this test tries n cases, not one."""
    return lambda n: request.node.user_properties.append(("cases", n))


def pytest_terminal_summary(terminalreporter):
    tried, failed = collections.Counter(), collections.Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            what = next((name for path, name in CASES.items() if report.nodeid.startswith(path)), None)
            if what and report.when == "call":
                n = dict(report.user_properties).get("cases", 1)
                tried[what] += n
                failed[what] += n if outcome == "failed" else 0
    for what, n in tried.items():
        terminalreporter.write_line(f"{what}: {n} tried, {failed[what]} in tests that failed")

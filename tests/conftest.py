"""What tests of every folder share: where the programs are, gateways that end with their test, and a count of cases."""

import os
from pathlib import Path

import pytest

# What one case of a folder's tests is called in the closing lines.
CASES = {"faults": "faults", "hostile": "attacks"}


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
    def count(outcome, folder):
        return sum(dict(report.user_properties).get("cases", 1) for report in terminalreporter.getreports(outcome)
                   if report.when == "call" and Path(report.nodeid).parts[0] == folder)
    for folder, what in CASES.items():
        passed, failed = count("passed", folder), count("failed", folder)
        if passed + failed > 0:
            terminalreporter.write_line(f"{what}: {passed + failed} tried, {failed} in tests that failed")

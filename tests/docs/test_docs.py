"""Tests of all documentation pages: they agree with the code."""

import ast
import importlib
import importlib.util
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from jicofo_reservation_proxy.backends import circuit_breaker as circuit
from jicofo_reservation_proxy.commands import exit_codes as exits
from jicofo_reservation_proxy.commands import main as cli
from jicofo_reservation_proxy.http import connections, server
from jicofo_reservation_proxy.http.answers import FAULT_ANSWERS, NO_BACKEND, TAKEN
from jicofo_reservation_proxy.http.forms import MAX_BODY_BYTES
from jicofo_reservation_proxy.ledger import sqlite_ledger, write_behind
from jicofo_reservation_proxy.model import NO_LIMIT_SECONDS, FaultKind
from jicofo_reservation_proxy.settings.schema import Settings
from jicofo_reservation_proxy.settings.validation import validate

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "proxy/jicofo_reservation_proxy"
PAGES = sorted(
    page
    for page in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
)
OPERATIONS = (ROOT / "docs/operations.md").read_text("utf-8")


def test_the_settings_page_is_up_to_date() -> None:
    """docs/settings.md is the page that `make docs` generates."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec
    assert spec.loader
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (ROOT / "docs/settings.md").read_text("utf-8") == generate.page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    """Every link of a page to the repository leads to a file that exists."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_are_shown_are_valid(page: Path) -> None:
    """The settings in every TOML example are valid; the test adds the backends that they name."""
    for example in re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        tree = tomllib.loads(example)
        named = {route["backend"] for route in tree.get("routes", [])}
        shown: dict[str, dict[str, object]] = tree.get("backends", {})
        backends = {
            name: {"target": "unix:/x"} | shown.get(name, {}) for name in named | set(shown)
        }
        validate(tree | {"backends": backends})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_imports_and_modules_on_a_page_exist(page: Path) -> None:
    """Every import and every module that a page shows exists."""
    text = page.read_text("utf-8")
    shown = r"from (jicofo_reservation_\w+[\w.]*) import (?:\(([^)]*)\)|([\w, ]+))"
    for module, several, one_line in re.findall(shown, text):
        found = importlib.import_module(module)
        parts = (several or one_line).strip().rstrip(",").split(",")
        for name in (part.partition(" as ")[0].strip() for part in parts):
            assert hasattr(found, name) or importlib.util.find_spec(f"{module}.{name}"), name
    for module in re.findall(
        r"\b(jicofo_reservation_(?:proxy|stub)(?:\.[a-z_]+)+)\b(?![:.(])", text
    ):
        importlib.import_module(module)


def test_users_see_the_sentences_of_the_operations_page() -> None:
    """The table of the operations page has each fixed sentence with its status."""
    for kind, (status, sentence) in FAULT_ANSWERS.items():
        if kind is not FaultKind.INTERNAL:
            assert re.search(rf"\| {status} \| {re.escape(sentence)} \(incident", OPERATIONS), kind
    for sentence in (TAKEN, NO_BACKEND):
        assert f"| 403 | {sentence} |" in OPERATIONS


@pytest.mark.parametrize(("name", "at_least"), [("reliability", 30), ("scaling", 9)])
def test_every_promise_names_its_tests(name: str, at_least: int) -> None:
    """Each promise on these pages names its tests, and all these tests exist."""
    page = (ROOT / f"docs/{name}.md").read_text("utf-8")
    promises = re.findall(r"^\| .* \| (`test_.*`) \|$", page, re.MULTILINE)
    code = "".join(file.read_text("utf-8") for file in (ROOT / "tests").rglob("*.py"))
    assert len(promises) >= at_least
    for test in re.findall(r"`(test_\w+)`", "".join(promises)):
        assert f"def {test}(" in code, test


def test_files_and_symbols_of_the_architecture_page_exist() -> None:
    """Each behaviour in the architecture table has a file, and the file defines the symbol."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    table = page.partition("## Where do I find")[2]
    rows = re.findall(r"^\| .+ \| `([\w/]+\.py)` \| `([\w.]+)` \|$", table, re.MULTILINE)
    assert len(rows) == table.count("\n|") - 2 >= 30  # minus the two heading lines
    rows += re.findall(r"`([\w/]+\.py)` `(\w+)`", page)
    for file, symbol in rows:
        assert symbol in _symbols(PACKAGE / file), f"{file}: {symbol}"


def test_the_architecture_page_shows_every_package() -> None:
    """The diagram and the table of the architecture page contain every package."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"gen"}
    for package in packages:
        assert f'\n    {package}["{package}<br/>' in page
        assert re.search(rf"^\| .*`{package}`", page, re.MULTILINE)


def test_the_unit_tests_have_the_folders_of_the_package() -> None:
    """tests/unit has one folder for each package; both have the same name."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"gen"}
    folders = {path.parent.name for path in (ROOT / "tests/unit").glob("*/__init__.py")}
    assert folders == packages


def _symbols(file: Path) -> set[str]:
    """Return the top-level names of a module, and the members of its classes as `Class.name`."""
    found = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        names = _names(node)
        found |= names
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for inner in node.body for name in _names(inner)}
    return found


def _names(node: ast.stmt) -> set[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case _:
            return set()


def test_the_limits_of_the_reliability_page() -> None:
    """The limits on the reliability page are equal to the limits in the code."""
    page = (ROOT / "docs/reliability.md").read_text("utf-8")
    assert f"{sqlite_ledger.MAX_CONFERENCES:,} conferences" in page
    assert f"{write_behind.WRITE_AFTER_SECONDS * 1000:.0f} ms after it answers" in page
    assert f"lets one call through {circuit.OPEN_SECONDS} s after" in page
    assert circuit.FAILURES == 3


def test_the_limits_of_the_operations_page() -> None:
    """The limits of the listener on the operations page are equal to the limits in the code."""
    head, body = f"{server.MAX_HEADER_BYTES // 1024} KiB", f"{MAX_BODY_BYTES // 1024} KiB"
    for row in (
        f"| the head of a request | {connections.HEAD_SECONDS:.0f} s, {head} |",
        f"| the body of a request | {connections.BODY_SECONDS:.0f} s more, {body} |",
        f"| an answer that the client does not read | {connections.SEND_SECONDS:.0f} s |",
        f"| an idle connection | {connections.IDLE_SECONDS / 60:.0f} minutes |",
        f"before it gets an answer | {connections.MAX_PIPELINED}. ",
        f"| connections | {server.MAX_CONNECTIONS}, or half of the files ",
    ):
        assert row in OPERATIONS


def test_the_help_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists the exit codes 0 to 9 and 130, each once and in order, with its meaning."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    table = capsys.readouterr().out.partition("exit codes:\n")[2]
    codes = [int(line.split()[0]) for line in table.splitlines() if line.strip()]
    assert codes == [*range(10), 130]
    constants = {value for name, value in vars(exits).items() if name.isupper() and value in codes}
    assert constants == set(codes) - {1}


def test_every_setting_is_documented() -> None:
    """Every top-level setting has a description."""
    assert all(setting.metadata["doc"] for setting in fields(Settings))


def test_the_readme_begins_with_the_two_commands() -> None:
    """The README shows `make run` and `make test`, in this order, and both targets exist."""
    readme = (ROOT / "README.md").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    commands = re.findall(r"^    make ([a-z-]+) ", readme, re.MULTILINE)
    assert commands == ["run", "test"]
    assert all(f"\n{command}:" in makefile for command in commands)


def test_the_paths_in_the_makefile_exist() -> None:
    """Every path below tests, docs, benchmarks and protos that the Makefile names exists."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = re.findall(r"\b(?:tests|docs|benchmarks|protos)/[\w./]+", makefile)
    assert len(named) >= 4
    for path in named:
        assert (ROOT / path).exists(), path


def test_the_readme_shows_the_number_for_no_limit() -> None:
    """The answers in the README show the real number for "no limit"."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme.count(f'"duration": {NO_LIMIT_SECONDS}') == 2

"""Tests of docs/backends.md: its commands work as the page shows them."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, json_format
from jicofo_reservation_proxy.commands import main as cli
from jicofo_reservation_proxy.conformance import cases
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from tests.backends.stubs import STUBS, serving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/backends.md").read_text("utf-8")
MTLS = PAGE.partition("## mTLS\n")[2]
_READY = ".venv/.ready"
_BACKENDS = "tests/backends"
_IS_GO_OR_JAVA = re.compile(r"[\[-](go|java)\b")
PYTHON = next(stub for stub in STUBS if stub.name == "python")


def test_the_mtls_set_up_works_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The OpenSSL commands write files that the stub, the kit and `check` accept."""
    make_files, use_them = re.findall(r"```sh\n(.*?)```", MTLS, re.DOTALL)
    subprocess.run(
        [_tool("bash"), "-eu", "-c", make_files], cwd=tmp_path, check=True, capture_output=True
    )
    monkeypatch.chdir(tmp_path)
    stub, kit = use_them.replace("\\\n", "").splitlines()[:2]
    with serving(PYTHON, *stub.split()[1:]) as address:
        target = f"localhost:{address.rpartition(':')[2]}"
        assert "localhost:50051" in kit
        chosen = kit.replace("localhost:50051", target).split()[1:]
        assert cli.main([*chosen, "--only", "get*"]) == 0
        (settings,) = re.findall(r"```toml\n(.*?)```", MTLS, re.DOTALL)
        Path("settings.toml").write_text(settings.replace("localhost:50051", target))
        monkeypatch.setenv("JICOFO_RESERVATION_PROXY_STATE_DIR", str(tmp_path / "state"))
        # A proxy of the developer may use the default address.
        monkeypatch.setenv("JICOFO_RESERVATION_PROXY_LISTEN", "127.0.0.1:0")
        assert cli.main(["check", "--config", "settings.toml"]) == 0
    assert "backends.default: ok, answered in" in capsys.readouterr().out


class _Rows:
    """The SQL of the page on SQLite, which locks the whole database in place of a row."""

    def __init__(self) -> None:
        blocks = [_for_sqlite(block) for block in re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)]
        self._set_up, (self._raise,), (self._find, self._release, self._delete) = blocks
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.execute("PRAGMA foreign_keys = ON")
        self._database.execute("CREATE TABLE conference (id INTEGER PRIMARY KEY, room TEXT)")
        self._database.execute("INSERT INTO conference VALUES (1, 'board'), (2, 'hall')")
        for statement in self._set_up:
            self._database.execute(statement)

    def raise_row(self, conference_id: int, holder: str, hold: int) -> int:
        """Do what CreateConference does; return the hold of the answer."""
        values = {"conference_id": conference_id, "holder": holder, "hold": hold}
        ((answered,),) = self._database.execute(self._raise, values).fetchall()
        return int(answered)

    def release(self, holder: str, hold: int, **subject: object) -> None:
        """Do what DeleteConference does, for a `conference_id` or a `room`."""
        find = self._find if "conference_id" in subject else self._find.split(" WHERE ")[0]
        find += "" if "conference_id" in subject else " WHERE room = :room"
        found = self._database.execute(find, subject).fetchone()
        if found is None:
            return
        values = {"id": found[0], "holder": holder, "hold": hold}
        if self._database.execute(self._release, values).rowcount:
            self._database.execute(self._delete, values)

    @property
    def conferences(self) -> list[int]:
        """The ids of the conferences that exist."""
        return [number for (number,) in self._database.execute("SELECT id FROM conference")]


def _for_sqlite(block: str) -> list[str]:
    """Return the statements of a block, in the SQL of SQLite."""
    block = re.sub(r"--.*", "", block).replace(" FOR UPDATE", "").replace("GREATEST(", "max(")
    block = re.sub(r"\$(\w+)", r":\1", block)
    return [statement.strip() for statement in block.split(";") if statement.strip()]


def test_the_sql_of_the_holders() -> None:
    """The statements keep a row for each holder, and compare holds."""
    rows = _Rows()
    rows.release("", 0, conference_id=2)  # from before the table
    assert rows.conferences == [1]
    assert [rows.raise_row(1, "a", hold) for hold in (5, 7, 6)] == [5, 7, 7]
    assert rows.raise_row(1, "b", 2) == 2
    rows.release("", 0, conference_id=1)
    rows.release("a", 6, conference_id=1)
    rows.release("b", 2, room="board")
    rows.release("c", 9, conference_id=1)
    rows.release("a", 9, room="attic")
    assert rows.conferences == [1]
    rows.release("a", 7, room="board")
    assert rows.conferences == []


def test_the_grpcurl_request_is_valid() -> None:
    """The grpcurl request has valid field names, and it sets every field that must be set."""
    (text,) = re.findall(r"-d '(\{\"request_id\".*?\})' \\", PAGE, re.DOTALL)
    request = json_format.ParseDict(json.loads(text), pb.CreateConferenceRequest())
    assert all((request.request_id, request.room.raw, request.owner.raw))
    assert request.HasField("start_time")


def test_the_table_of_rules_names_cases() -> None:
    """Each pattern in the last column matches a case of the kit, and the page names every case."""
    rules = PAGE.partition("## The rules of the contract\n")[2].partition("\n## ")[0]
    patterns = [
        pattern
        for row in re.findall(r"^\| .* \| ([^|]*) \|$", rules, re.MULTILINE)
        for pattern in re.findall(r"`([^`]+)`", row)
    ]
    names = [case.name for case in cases()]
    assert all(any(fnmatchcase(name, pattern) for name in names) for pattern in patterns)
    assert not [
        name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def test_the_targets_for_generated_code_exist() -> None:
    """The Makefile has every target that the page names."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"`make ([a-z-]+)`", PAGE))
    assert len(targets) >= 4
    assert all(f"\n{target}:" in makefile for target in targets)


def test_the_descriptor_set_holds_the_contract() -> None:
    """The descriptor set contains the contract and the files that it imports, as grpcurl needs."""
    subprocess.run(
        [_tool("make"), f"BIN={Path(sys.executable).parent}", "-o", _READY, "descriptor-set"],
        cwd=ROOT,
        check=True,
    )
    content = (ROOT / "build/reservation.binpb").read_bytes()
    files = descriptor_pb2.FileDescriptorSet.FromString(content).file
    assert "google/protobuf/timestamp.proto" in {file.name for file in files}
    assert [service.name for file in files for service in file.service] == ["ReservationService"]


@pytest.mark.parametrize(
    ("target", "tool"),
    [("stubs-go", "go"), ("stubs-java", "mvn"), ("conformance-go", "go"), ("test-stubs", "go")],
)
def test_a_missing_toolchain_is_named(target: str, tool: str, tmp_path: Path) -> None:
    """Without its tool, a target fails, and the message names the tool to install."""
    (tmp_path / "bash").symlink_to(_tool("bash"))
    done = subprocess.run(
        [_tool("make"), f"BIN={Path(sys.executable).parent}", "-o", _READY, target],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert re.search(rf"\b{tool}\b", done.stderr)
    assert "install" in done.stderr


def test_make_test_needs_no_toolchain(tmp_path: Path) -> None:
    """`make test` excludes the Go and Java stubs; `make test-stubs` runs only these stubs."""
    chosen, others = _collected("not toolchain", tmp_path), _collected("toolchain", tmp_path)
    assert chosen
    assert others
    assert not [test for test in chosen if _IS_GO_OR_JAVA.search(test)]
    assert all(_IS_GO_OR_JAVA.search(test) for test in others)


def test_a_stub_without_its_toolchain_fails_and_names_the_tool(tmp_path: Path) -> None:
    """Without its tools, the tests of a stub fail and name the tools; they are not skipped."""
    done = _pytest("-k", "table and (go or java)", path=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "the Go stub needs go; install it" in done.stdout
    assert "the Java stub needs java and mvn; install it" in done.stdout


def _collected(marked: str, path: Path) -> list[str]:
    """Return the tests of the stubs that `make` chooses by a mark."""
    done = _pytest("-m", marked, "--collect-only", "-q", path=path)
    assert done.returncode == 0, done.stdout
    return re.findall(r"^\S+::\S+$", done.stdout, re.MULTILINE)


def _pytest(*flags: str, path: Path) -> "subprocess.CompletedProcess[str]":
    """Run the tests of the stubs with `path` as the only directory of tools."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *flags, _BACKENDS],
        cwd=ROOT,
        env={"PATH": str(path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


def _tool(name: str) -> str:
    path = shutil.which(name)
    assert path, name
    return path

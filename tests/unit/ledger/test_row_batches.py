"""Many rows in few statements: the same result as one statement for each row."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jicofo_reservation_proxy.ledger import row_batches

KEYS = ("a", "b")
TABLE = "CREATE TABLE t (a TEXT NOT NULL, b INTEGER NOT NULL, c TEXT, PRIMARY KEY (a, b))"
ROWS = st.lists(
    st.tuples(st.sampled_from("xyz"), st.integers(0, 60), st.none() | st.text(max_size=3)),
    max_size=200,
)


def execute(connection: sqlite3.Connection, statements: Iterator[row_batches.Statement]) -> None:
    """Execute the statements one after the other."""
    for text, parameters in statements:
        connection.execute(text, parameters)


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """Return a database with a table."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(TABLE)
        yield connection


@given(ROWS, ROWS)
def test_the_result_is_that_of_one_statement_for_each_row(
    inserted: list[tuple[str, int, str | None]], deleted: list[tuple[str, int, str | None]]
) -> None:
    """The last of several rows with one key stays; a key without a row changes nothing."""
    keys = [row[:2] for row in deleted]
    results = []
    for is_batch in (True, False):
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute(TABLE)
            if is_batch:
                execute(connection, row_batches.insert("t", inserted))
                execute(connection, row_batches.delete("t", KEYS, keys))
            else:
                connection.executemany("INSERT OR REPLACE INTO t VALUES (?, ?, ?)", inserted)
                connection.executemany("DELETE FROM t WHERE a = ? AND b = ?", keys)
            results.append(connection.execute("SELECT * FROM t ORDER BY a, b").fetchall())
    assert results[0] == results[1]


def test_few_statements_are_made(database: sqlite3.Connection) -> None:
    """A hundred rows are two statements of 64 and 16 rows, and some of 4."""
    statements: list[str] = []
    database.set_trace_callback(statements.append)
    execute(database, row_batches.insert("t", [("x", number, None) for number in range(100)]))
    inserts = [text for text in statements if text.startswith("INSERT")]
    assert [text.count("(") for text in inserts] == [64, 16, 16, 4]


@pytest.mark.parametrize("number", row_batches.SIZES)
def test_a_deletion_uses_the_key(database: sqlite3.Connection, number: int) -> None:
    """A deletion does not read the whole table."""
    statements: list[str] = []
    database.set_trace_callback(statements.append)
    execute(database, row_batches.delete("t", KEYS, [("x", each) for each in range(number)]))
    plan = database.execute(f"EXPLAIN QUERY PLAN {statements[-1]}").fetchall()
    assert sum("USING" in row[3] for row in plan) == number
    assert not any(row[3].startswith("SCAN") for row in plan), plan


def test_no_rows_are_no_statement() -> None:
    """Nothing to write is nothing to do."""
    assert list(row_batches.insert("t", [])) == []
    assert list(row_batches.delete("t", KEYS, [])) == []

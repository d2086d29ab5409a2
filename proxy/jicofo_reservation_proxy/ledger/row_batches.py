"""Statements that write many rows at once.

Each call into SQLite gives up Python's interpreter lock. Beside a busy thread it can wait for the
lock after each call: with `executemany`, which gives it up once for each row, 64 rows took up to
120 ms, and one statement for all of them 11 ms.
"""

from collections.abc import Iterator, Sequence

SIZES = (64, 16, 4, 1)
"""The numbers of rows in a statement. Few different statements can stay in the statement cache."""

Row = Sequence[object]

Statement = tuple[str, Sequence[object]]
"""The text of a statement, and its parameters."""


def insert(table: str, rows: Sequence[Row]) -> Iterator[Statement]:
    """Insert rows with a value for each column; a row replaces the one with the same key."""
    for batch in _batches(rows):
        yield (
            f"INSERT OR REPLACE INTO {table} VALUES {_marks(batch)}",  # noqa: S608 - a constant
            _values(batch),
        )


def delete(table: str, columns: Sequence[str], keys: Sequence[Row]) -> Iterator[Statement]:
    """Delete the rows whose key columns have these values.

    SQLite uses the index for each of the conditions; for `(a, b) IN (VALUES ...)` it would read the
    whole table.
    """
    same = f"({' AND '.join(f'{column} = ?' for column in columns)})"
    for batch in _batches(keys):
        yield (
            f"DELETE FROM {table} WHERE {' OR '.join([same] * len(batch))}",  # noqa: S608 - constants
            _values(batch),
        )


def _batches(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    at = 0
    while at < len(rows):
        size = next(size for size in SIZES if size <= len(rows) - at)
        yield rows[at : at + size]
        at += size


def _marks(batch: Sequence[Row]) -> str:
    row = f"({', '.join('?' * len(batch[0]))})"
    return ", ".join([row] * len(batch))


def _values(batch: Sequence[Row]) -> list[object]:
    return [value for row in batch for value in row]

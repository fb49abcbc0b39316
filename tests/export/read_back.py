"""Reads exported tables with pandas, Polars and DuckDB, and compares every cell with the rows expected.

Usage: read_back.py DIR, which holds <table>.{jsonl,csv,parquet}, and expected.json:
{table: {"kinds": {column: kind}, "rows": [[cell, ...], ...]}} with cells as the log's JSON has them.
"""

import json
import math
import sys
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas
import polars


def absent(value):
    return value is None or value is pandas.NaT or (isinstance(value, float) and math.isnan(value))


def nanos(value):
    if isinstance(value, int):
        return value
    if isinstance(value, pandas.Timestamp):
        return value.value
    if isinstance(value, datetime):
        whole = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value
        return int(whole.timestamp()) * 10**9 + whole.microsecond * 1000
    text, _, fraction = value.rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()
    return int(seconds) * 10**9 + int(fraction.ljust(9, "0") or 0)


def boolean(value):
    return {"true": True, "false": False}[str(value).lower()]


def tree(value):
    return json.dumps(json.loads(value) if isinstance(value, str) else value, sort_keys=True)


SAME = {
    "Text": str,
    "Int": lambda value: int(float(value)) if isinstance(value, float) else int(value),
    "Float": float,
    "Bool": boolean,
    "Time": nanos,
    "Decimal": lambda value: Decimal(str(value)).normalize(),
    "Json": tree,
}


def cell(kind, value):
    return None if absent(value) else SAME[kind](value)


def no_text(value):
    """CSV has no null: an empty cell is an absent one."""
    return None if value == "" else value


def pandas_rows(frame):
    return [list(row) for row in frame.astype(object).itertuples(index=False, name=None)]


def duckdb_rows(query):
    found = duckdb.sql(query)
    return found.columns, found.fetchall()


def readings(path, table, kinds):
    """(reader, columns, rows, kinds that are compared) for a file."""
    everything = set(SAME)
    where = f"'{path}/{table}"
    columns = list(kinds)
    times = [name for name, kind in kinds.items() if kind == "Time"]

    parquet = pandas.read_parquet(f"{path}/{table}.parquet")
    yield "pandas parquet", list(parquet.columns), pandas_rows(parquet), everything
    parquet = polars.read_parquet(f"{path}/{table}.parquet")
    parquet = parquet.with_columns(polars.col(name).cast(polars.Int64) for name in times)
    yield "polars parquet", parquet.columns, parquet.rows(), everything
    nanos_of = ", ".join(f"epoch_ns({name}) AS {name}" for name in times)
    yield "duckdb parquet", *duckdb_rows(f"SELECT * REPLACE ({nanos_of}) FROM {where}.parquet'"), everything

    text = pandas.read_csv(f"{path}/{table}.csv", dtype=str, keep_default_na=False)
    yield "pandas csv", list(text.columns), [[no_text(v) for v in row] for row in pandas_rows(text)], everything
    text = polars.read_csv(f"{path}/{table}.csv", infer_schema=False)
    yield "polars csv", text.columns, text.rows(), everything
    yield "duckdb csv", *duckdb_rows(f"SELECT * FROM read_csv({where}.csv', all_varchar=true, header=true)"), everything

    lines = pandas.read_json(f"{path}/{table}.jsonl", lines=True, dtype=False, precise_float=True)
    yield "pandas jsonl", list(lines.columns), pandas_rows(lines), everything
    # Polars makes one structure of all rows out of nested values: other columns are compared.
    lines = polars.read_ndjson(f"{path}/{table}.jsonl", infer_schema_length=None)
    yield "polars jsonl", lines.columns, lines.rows(), everything - {"Json"}
    types = ", ".join(f"{name}: 'VARCHAR'" for name in columns)
    yield "duckdb jsonl", *duckdb_rows(f"SELECT * FROM read_json({where}.jsonl', columns={{{types}}})"), everything


def main(path):
    expected = json.loads(Path(path, "expected.json").read_text())
    compared = 0
    for table, wanted in expected.items():
        kinds = wanted["kinds"]
        rows = [[cell(kind, value) for kind, value in zip(kinds.values(), row)] for row in wanted["rows"]]
        for reader, columns, found, looked_at in readings(path, table, kinds):
            assert list(columns) == list(kinds), f"{reader} of {table}: columns {columns}"
            assert len(found) == len(rows), f"{reader} of {table}: {len(found)} rows, not {len(rows)}"
            for number, (got, want) in enumerate(zip(found, rows), 1):
                for name, kind, value, right in zip(kinds, kinds.values(), got, want):
                    if kind in looked_at:
                        same = cell(kind, value)
                        assert same == right, f"{reader} of {table}, row {number}, {name}: {same!r}, not {right!r}"
                        compared += 1
    print(f"{compared} cells compared")


main(sys.argv[1])

"""The table rows as data: complete, unique, and each names a network that exists."""

from collections import Counter

import timm

from mgnet_models import table_rows


def test_every_table_row_is_there_once() -> None:
    rows = table_rows()
    assert len(rows) == len({row.id for row in rows}) == 173
    printed = Counter((row.version, row.table) for row in rows)
    v2 = {1: 16, 2: 4, 3: 32, 4: 18, 5: 8, 6: 2, 7: 11, 8: 12, 9: 4, 10: 6, 11: 8}
    v1 = {1: 16, 2: 4, 3: 16, 4: 16}
    assert printed == {("v2", table): n for table, n in v2.items()} | {("v1", table): n for table, n in v1.items()}
    assert sum(row.params_printed is not None for row in rows) == 141


def test_every_table_row_names_a_registered_network() -> None:
    missing = sorted({row.model for row in table_rows() if not timm.is_model(row.model)})
    assert missing == []


def test_only_table_4_quotes_other_papers() -> None:
    assert {(row.version, row.table) for row in table_rows() if row.quoted} == {("v2", 4)}
    assert all(row.cites for row in table_rows() if row.quoted)

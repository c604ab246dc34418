"""Fuzz targets of tracking: addresses that hold passwords, and the offset file beside a journal."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from fuzz.framework import target
from mgnet_records.addresses import shown, without_secrets
from mgnet_train.runs.journal import JOURNAL, Journal
from mgnet_train.tracking.uploader import OFFSET, read_sent, unsent

_SIGNS = "/?#@:;%&=+ []{}<>\"'\\^|~.,!$()*-_"
# Words that may stand in an address or a message on their own are no secrets that could be told from them.
_PASSWORDS = st.text(st.sampled_from("xqzXQZ789" + _SIGNS), min_size=8, max_size=30).filter(
    lambda text: sum(map(str.isalnum, text)) > 5
)
_PLACES = ("host:5000", "[::1]:5000/mlflow", "host/db?sslmode=require", "h,h2:1/db", "")
_SCHEMES = ("http://", "https://", "postgresql+psycopg://", "mssql+pyodbc://", "databricks://", "odd-scheme:", "")


@target(st.tuples(st.sampled_from(_SCHEMES), _PASSWORDS, st.sampled_from(_PLACES), st.text(max_size=20)), form="json", quick=50)
def address(parts: Any) -> None:
    """However a password is quoted in an address, neither the shown address nor a message that repeats it has the password."""
    scheme, password, place, text = parts
    for spelled in (password, quote(password), quote(password, safe="")):
        uri = f"{scheme}user:{spelled}@{place}"
        basic = base64.b64encode(f"user:{password}".encode()).decode()
        message = f"{text}{uri} {uri!r} password {spelled!r} {password} Basic {basic} {text}"
        for told in (shown(uri), without_secrets(message, uri)):
            assert password not in told
            assert basic not in told


@target(st.one_of(st.binary(max_size=200), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(
    lambda value: json.dumps({"run_id": "0" * 32, "bytes": value, "digest": value}).encode())), quick=30)  # fmt: skip
def offset_file(content: bytes) -> None:
    """An offset file that this journal did not get counts as none, and never raises."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        journal = Journal(folder, "")
        journal.log("step", 1, {"train/step_loss": 1.0})
        journal.close()
        length = (folder / JOURNAL).stat().st_size
        (folder / OFFSET).write_bytes(content)
        sent = read_sent(folder)
        assert sent is None or sent.bytes == length
        assert unsent(folder)

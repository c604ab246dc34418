"""Writing a report: complete under its name, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mgnet_verify.errors import UserError


def require_writable(path: Path) -> None:
    """Refuse, before any work is done, a path whose folder does not exist or cannot be written."""
    folder = path.parent
    if not folder.is_dir():
        raise UserError(f"cannot write {path}: folder {folder} does not exist; create it or choose another")
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; give the name of a file")
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write {path}: no permission in {folder}; choose another file")


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write `document` next to `path`, then move it there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another file") from None
    finally:
        temporary.unlink(missing_ok=True)

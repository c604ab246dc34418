"""Which names in the folders of a data set are nothing: what systems and tools leave there."""

from __future__ import annotations

_SYSTEM_FOLDERS = {
    "__macosx",
    "__pycache__",
    "lost+found",
    "@eadir",
    "#recycle",
    "@recycle",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "network trash folder",
    "temporary items",
}
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "ntuser.dat"}


def is_hidden(name: str) -> bool:
    """Whether a file or folder is passed over in silence: .ipynb_checkpoints, macOS's ._0.JPEG beside 0.JPEG, Thumbs.db."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES


def is_system_folder(name: str) -> bool:
    """Whether a folder is no class and holds no images: __MACOSX, lost+found, @eaDir, $RECYCLE.BIN."""
    return name.lower() in _SYSTEM_FOLDERS


def is_passed_over(path: str) -> bool:
    """Whether any part of a path with slashes is hidden or a system folder."""
    return any(is_hidden(part) or is_system_folder(part) for part in path.split("/") if part not in ("", ".", ".."))


def shown(names: list[str], *, limit: int = 4) -> str:
    """Some of the names, quoted, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(ascii, names[:limit])) + more

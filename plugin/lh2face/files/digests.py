"""SHA-256 digests of files, folders and JSON values."""

import hashlib
import json
from pathlib import Path
from typing import Any


def joined(found: Any) -> str:
    """One digest of several, or of other JSON."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def digests(*paths: Path) -> dict[str, str]:
    """:func:`digest` of several, by name."""
    return {path.name: digest(path) for path in paths}


def digest(path: Path) -> str:
    """SHA-256 of a file, or of all files in a folder with their names below it."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return joined({str(p.relative_to(path)): digest(p) for p in path.rglob("*") if p.is_file()})

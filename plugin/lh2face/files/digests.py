"""SHA-256 digests of files, folders and JSON values."""

import hashlib
import json
from pathlib import Path
from typing import Any


def joined(found: Any) -> str:
    """Compute one digest of a JSON value, such as a dict of digests; key order does not matter."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def digests(*paths: Path) -> dict[str, str]:
    """Compute the :func:`digest` of several files or folders, by name."""
    return {path.name: digest(path) for path in paths}


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file, or of the names and contents of all files in a folder."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return joined({str(p.relative_to(path)): digest(p) for p in path.rglob("*") if p.is_file()})

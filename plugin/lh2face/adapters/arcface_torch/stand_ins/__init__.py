"""What arcface_torch calls of packages that may be missing; a path for imports, not a package."""

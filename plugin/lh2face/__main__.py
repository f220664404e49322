"""``python -m lh2face`` is ``lh2face``."""

from lh2face.cli import main

if __name__ == "__main__":
    main()

"""``python -m lh2face`` is ``lh2face``."""

from lh2face.cli import main

main()

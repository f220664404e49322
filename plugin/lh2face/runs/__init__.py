"""One training run: its config made ready, its work folder, and mmengine's Runner from it."""

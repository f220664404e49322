"""Stand-in for AdaFace's ``main.py``, which no test starts."""

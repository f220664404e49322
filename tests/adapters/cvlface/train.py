"""Stand-in for CVLface's ``train.py``, which no test starts."""

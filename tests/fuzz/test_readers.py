"""Every reader copes with a few damaged files, the same each time; ``make fuzz`` runs many more."""

import importlib.util
import random
import signal
import sys
from pathlib import Path

import pytest

if not hasattr(signal, "SIGPROF"):
    pytest.skip("this system has no timer of processor time", allow_module_level=True)
sys.path.insert(0, str(Path(__file__).parent))
spec = importlib.util.spec_from_file_location("fuzz_run", Path(__file__).with_name("run.py"))
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)
INPUTS = 40
OTHERS = {
    "parameters": 4, "overlay": 4, "study_plan": 8,  # half a second per input
    "record_file": 1000, "verification_bin": 400,  # these also check what they read
}  # fmt: skip


@pytest.mark.parametrize("name", run.READERS)
def test_damaged_files_give_a_result_or_an_error_in_words(tmp_path, monkeypatch, name):
    monkeypatch.setattr(
        run.resource, "setrlimit", lambda *_: None
    )  # memory of the tests' own process
    reader = run.READERS[name]
    samples = run.read_samples(reader, tmp_path / name)
    before = signal.signal(signal.SIGPROF, run.too_long)
    try:
        for number in range(OTHERS.get(name, INPUTS)):
            files = run.damaged(samples, random.Random(f"{name}-{number}-0"))
            found, what = run.outcome(reader, run.put(tmp_path / name / "input", files))
            assert found == "ok", (number, what)
    finally:
        signal.signal(signal.SIGPROF, before)

"""A command has as many threads as cores are idle."""

import multiprocessing
import os
import sys

import pytest

from lh2face import cli, threads

STAT = """cpu  500 0 100 {all} 0 0 0 0 0 0
cpu0 400 0 50 {first} 10 0 0 0 0 0
cpu1 100 0 50 {second} 20 0 0 5 0 0
cpu10 0 0 0 9000 0 0 0 0 0 0
intr 12345 0 0
"""


def stat(first: int, second: int) -> str:
    return STAT.format(all=first + second, first=first, second=second)


def test_idle_ticks_are_those_of_the_given_cores():
    assert threads.ticks(stat(100, 200), {0, 1}) == (110 + 220, 560 + 375)
    assert threads.ticks(stat(100, 200), {1}) == (220, 375)


@pytest.mark.parametrize(
    ("cores", "before", "after", "expected"),
    [
        ({0, 1}, (0, 0), (10, 10), 2),
        ({0, 1}, (0, 0), (10, 0), 1),
        ({0}, (0, 0), (10, 10), 1),  # taskset and Slurm leave a process fewer cores
    ],
)
def test_cores_without_work_are_idle(tmp_path, monkeypatch, cores, before, after, expected):
    """The other ticks are counted as user time."""
    (file := tmp_path / "stat").write_text(stat(*before))
    monkeypatch.setattr(threads, "STAT", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
    done = [10 - (later - sooner) for sooner, later in zip(before, after, strict=True)]

    def wait(_: float) -> None:
        later = stat(*after).replace("cpu0 400", f"cpu0 {400 + done[0]}")
        file.write_text(later.replace("cpu1 100", f"cpu1 {100 + done[1]}"))

    monkeypatch.setattr(threads.time, "sleep", wait)
    assert threads.idle_cores() == expected


@pytest.mark.parametrize(("load", "expected"), [(0.1, 4), (1.2, 3), (12.7, 1)])
def test_the_load_counts_where_the_system_does_not_say(tmp_path, monkeypatch, load, expected):
    monkeypatch.setattr(threads, "STAT", tmp_path / "absent")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert threads.idle_cores() == expected


def spin() -> None:
    while True:
        pass


def test_a_machine_without_idle_cores_gets_one_thread():
    busy = [multiprocessing.Process(target=spin, daemon=True) for _ in range(os.cpu_count())]
    for process in busy:
        process.start()
    try:
        assert threads.idle_cores() == 1
    finally:
        for process in busy:
            process.kill()


@pytest.mark.parametrize(("given", "expected"), [(None, "3"), ("", "3"), ("5", "5")])
def test_every_command_bounds_its_threads(tmp_path, monkeypatch, capsys, given, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", given or "")
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "idle_cores", lambda: 3)
    monkeypatch.setattr(sys, "argv", ["lh2face", "info", str(tmp_path)])
    with pytest.raises(SystemExit):
        cli.main()
    assert os.environ["OMP_NUM_THREADS"] == expected

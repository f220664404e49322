"""Damaged, malicious and non-finite checkpoints do not count as whole."""

import random
from pathlib import Path

import pytest
import torch

from lh2face.training import LastCheckpointHook


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A small checkpoint as mmengine writes it."""
    path = tmp_path_factory.mktemp("checkpoint") / "last.pth"
    state = {"weight": torch.arange(40.0), "bias": torch.ones(3)}
    torch.save({"meta": {"iter": 3}, "state_dict": state, "message_hub": {}}, path)
    return path


def test_a_damaged_checkpoint_is_detected_or_has_the_same_content(checkpoint, tmp_path):
    whole, expected = checkpoint.read_bytes(), torch.load(checkpoint)
    assert LastCheckpointHook.is_whole(checkpoint)
    damaged, rng, passed = tmp_path / "last.pth", random.Random(0), 0
    for _ in range(1500):
        content = bytearray(whole)
        place = rng.randrange(len(content))
        kind = rng.randrange(4)
        if kind == 0:
            content = content[:place]
        elif kind == 1:
            content[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            length = rng.randrange(1, 64)
            content[place : place + length] = rng.randbytes(length)
        else:
            content[place : place + 512] = bytes(len(content[place : place + 512]))
        damaged.write_bytes(content)
        if LastCheckpointHook.is_whole(damaged):
            passed += 1
            found = torch.load(damaged)
            assert found["meta"] == expected["meta"]
            for name, value in expected["state_dict"].items():
                assert torch.equal(found["state_dict"][name], value)
    assert passed < 1500 / 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_checkpoint_with_non_finite_weights_does_not_count(checkpoint, tmp_path, value):
    content = torch.load(checkpoint)
    content["state_dict"]["weight"][7] = value
    torch.save(content, tmp_path / "last.pth")
    assert not LastCheckpointHook.is_whole(tmp_path / "last.pth")


@pytest.mark.parametrize("content", [{}, [1], {"meta": 1, "state_dict": {}}, torch.ones(1)])
def test_a_file_with_other_content_does_not_count(tmp_path, content):
    torch.save(content, tmp_path / "last.pth")
    assert not LastCheckpointHook.is_whole(tmp_path / "last.pth")


def test_a_checkpoint_with_python_code_does_not_count(tmp_path):
    """When it resumes, mmengine runs ``meta["config"]`` as Python code."""
    torch.save({"meta": {"config": "import os"}, "state_dict": {}}, tmp_path / "last.pth")
    assert not LastCheckpointHook.is_whole(tmp_path / "last.pth")

"""The preprocessor scales uint8 batches to network inputs."""

import pytest
import torch

from lh2face.recognizers.preprocessor import FacePreprocessor, normalize_images


def images(count: int, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def test_values_are_scaled_to_the_known_range():
    x = torch.tensor([0, 255, 51], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert normalize_images(x).flatten().tolist() == pytest.approx([-1.0, 1.0, -0.6])


def test_equal_to_insightfaces_scaling_and_leaves_the_input_alone():
    x = images(2)
    before = x.clone()
    torch.testing.assert_close(normalize_images(x), (x.float() - 127.5) / 127.5)
    assert torch.equal(x, before)
    assert normalize_images(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("wrong", [torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8).byte()])
def test_other_input_is_refused(wrong):
    with pytest.raises(ValueError, match=r"images: expected uint8 of shape \(B, 3, H, W\)"):
        normalize_images(wrong)


def test_training_makes_no_difference_and_other_keys_are_kept():
    data = {"inputs": images(4), "label": [0, 1, 0, 1]}
    for training in (False, True):
        found = FacePreprocessor()(data, training=training)
        assert torch.equal(found["inputs"], normalize_images(data["inputs"]))
        assert found["label"] == [0, 1, 0, 1]
    assert data["inputs"].dtype == torch.uint8

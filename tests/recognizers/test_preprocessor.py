"""From uint8 batches to network input."""

import pytest
import torch

from lh2face.recognizers.preprocessor import FacePreprocessor, mirror_some, normalize_images


def images(count: int, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def test_known_values_and_range():
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


def test_each_image_is_mirrored_or_not():
    x = images(200)
    torch.manual_seed(0)
    y = mirror_some(x, 0.3)
    kept = (y == x).all((1, 2, 3))
    flipped = (y == x.flip(3)).all((1, 2, 3))
    assert (kept ^ flipped).all()
    assert 35 <= flipped.sum() <= 85  # 60 expected, 6.5 standard deviation
    torch.manual_seed(0)
    assert torch.equal(mirror_some(x, 0.3), y)


def test_mirrors_only_when_training():
    preprocessor, data = FacePreprocessor(mirror=1.0), {"inputs": images(4), "label": [0, 1, 0, 1]}
    plain = normalize_images(data["inputs"])
    assert torch.equal(preprocessor(data)["inputs"], plain)
    training = preprocessor(data, training=True)
    assert torch.equal(training["inputs"], plain.flip(3))
    assert training["label"] == [0, 1, 0, 1]
    assert data["inputs"].dtype == torch.uint8


def test_probability_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"mirror: .* found 1\.5"):
        FacePreprocessor(mirror=1.5)

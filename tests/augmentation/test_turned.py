"""Turned faces agree with the renderer, with the template of alignment and with symmetry."""

import json
import math

import cv2
import numpy as np
import pytest
import torch

from lh2face.artifacts.file_names import DESCRIPTION, RECONSTRUCTOR_WEIGHTS
from lh2face.artifacts.model import write_weights
from lh2face.augmentation import TurnedFaces, turned
from lh2face.augmentation.turned import CENTRE, aligned_view, background, turn, warps
from lh2face.data.align import TEMPLATE, estimate_norm
from lh2face.data.synthetic.canonical import canonical_faces, landmark_points, seen_landmarks
from lh2face.reconstruction.pose import view_of_landmarks
from lh2face.registry import MODELS
from lh2face.rendering import DepthMeshRenderer, focal_length, project, transform

SIZE = 48
# Few views of a wide range keep the tests fast.
YAW, PITCH = (20.0, 70.0), 10.0


@pytest.fixture(scope="module", autouse=True)
def few_views():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turned, "VIEWS", 12)
        warps.cache_clear()
        yield
    warps.cache_clear()


def smooth(size: int = SIZE) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.parametrize("degrees", [(0, 0), (0, 30), (0, -60), (10, 45), (-20, 75)])
def test_a_turned_face_is_aligned_again(degrees):
    """The camera's functions put its five landmarks where the template has them."""
    depth, _ = turned._surface(112)
    view = aligned_view(depth, *map(math.radians, degrees))
    assert view[0, :2].tolist() == pytest.approx(np.radians(degrees), abs=1e-6)
    x, y = torch.from_numpy(TEMPLATE.T).float()
    z = depth[y.round().long(), x.round().long()]
    rays = torch.stack([x - 55.5, y - 55.5, torch.full((5,), focal_length(112))])
    points = z * rays / focal_length(112)
    seen = project(transform(points[None], view, CENTRE), 112)[0].T.numpy()
    moved = np.c_[TEMPLATE, np.ones(5)] @ estimate_norm(seen).T
    assert np.abs(moved - TEMPLATE).max() < 0.1


def test_a_turned_image_equals_the_renderers():
    image = smooth()
    depth, surface = turned._surface(SIZE)
    view = aligned_view(depth, 0.1, 0.8)
    texture = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    shown = torch.where(surface, depth, torch.nan)[None]
    expected, mask = DepthMeshRenderer(SIZE, rotation_center=CENTRE).render(texture, shown, view)
    warp = turned.warp_of(depth, surface, view)
    full = warp.head > 0.999
    assert 0.15 < full.mean() < 0.6 and not (full & ~mask[0].numpy()).any()
    difference = np.abs(turn(image, warp) - expected[0].permute(1, 2, 0).numpy())[full]
    assert difference.mean() < 1 and difference.max() < 12
    # Where the head covers nothing, the background shows.
    none = warp.head == 0
    assert none.any() and (turn(image, warp)[none] == background(image)[none]).all()


def test_a_turn_by_zero_returns_the_image():
    image = smooth()
    for warp in warps(SIZE, (0.0, 0.0), 0.0, "mean"):
        inside = warp.head > 0.999
        assert inside.mean() > 0.3
        assert np.abs(turn(image, warp).astype(int) - image)[inside].mean() < 2


def test_left_and_right_are_mirror_images():
    image = smooth()
    depth, surface = turned._surface(SIZE)
    right, left = (
        turned.warp_of(depth, surface, aligned_view(depth, 0.1, yaw)) for yaw in (0.7, -0.7)
    )
    mirrored = turn(image[:, ::-1].copy(), left)[:, ::-1]
    difference = np.abs(turn(image, right).astype(int) - mirrored)
    assert difference.mean() < 2


def test_a_positive_yaw_turns_the_left_half_away():
    """With a positive yaw the nose, which is near, moves to the left; the left half turns away."""
    depth, surface = turned._surface(SIZE)
    middle = (SIZE - 1) / 2
    shares = []
    for yaw in (0.7, -0.7):
        warp = turned.warp_of(depth, surface, aligned_view(depth, 0.0, yaw))
        shares.append((warp.x[warp.head > 0.5] > middle).mean())
    assert shares[1] < 0.4 < 0.6 < shares[0]


def test_views_fill_the_range_on_both_sides(monkeypatch):
    seen = []
    monkeypatch.setattr(turned, "aligned_view", lambda depth, rx, ry: seen.append((rx, ry)))
    monkeypatch.setattr(turned, "warp_of", lambda *arguments: None)
    monkeypatch.setattr(turned, "VIEWS", 128)
    warps.cache_clear()
    assert len(warps(SIZE, YAW, PITCH, "mean")) == 128
    warps.cache_clear()
    pitch, yaw = np.degrees(np.array(seen)).T
    assert (yaw > 0).sum() == 64
    assert np.abs(yaw).min() == pytest.approx(20) and np.abs(yaw).max() == pytest.approx(70)
    assert -10 <= pitch.min() < -9 and 9 < pitch.max() <= 10
    # Both sides have all angles.
    for side in (yaw[yaw > 0], -yaw[yaw < 0]):
        assert side.min() < 24 and side.max() > 66 and abs(side.mean() - 45) < 5


def test_the_background_has_the_colours_beside_the_head():
    surface = turned._surface(SIZE)[1].numpy()
    image = np.where(surface[..., None], [255, 0, 0], [0, 0, 200]).astype(np.uint8)
    found = background(image)
    # Grid cells at the outline mix head and background.
    assert found[..., 0].mean() < 60 and found[..., 2].mean() > 150
    assert found[0, 0].tolist() == pytest.approx([0, 0, 200], abs=25)


def test_other_shapes_are_refused():
    face = {"img": np.zeros((20, 24, 3), np.uint8), "rng": np.random.default_rng(0)}
    with pytest.raises(ValueError, match=r"^img: TurnedFaces .* square image, found 24 × 20"):
        TurnedFaces(1.0)(face)


def test_depths_of_the_linear_model_differ_from_each_other(monkeypatch):
    monkeypatch.setattr(turned, "VIEWS", 400)
    turned._modelled.cache_clear()
    drawn, head = turned._modelled(SIZE), turned._surface(SIZE)[1]
    turned._modelled.cache_clear()
    people = canonical_faces(100, SIZE)[0]
    people = (people + people.flip(2)) / 2
    torch.testing.assert_close(drawn.mean(0)[head], people.mean(0)[head], atol=2e-3, rtol=0)
    inside = torch.from_numpy(turned._inside(head.numpy(), turned.OUTLINE)) > 0.98
    assert inside.sum() > 0.5 * head.sum()
    ratio = drawn.std(0)[inside].mean() / people.std(0)[inside].mean()
    assert 0.85 < ratio < 1.1


def test_the_outline_of_a_modelled_face_is_not_torn():
    """The outline is not much longer than that of the mean face."""

    def length(depth: str) -> float:
        heads = np.stack([warp.head for warp in warps(SIZE, YAW, PITCH, depth)])
        return sum(np.abs(np.diff(heads, axis=axis)).sum() for axis in (1, 2))

    assert length("linear_3dmm") < 1.12 * length("mean")


def test_each_view_of_the_linear_model_has_its_own_depth():
    """At a fixed angle the mean depth gives one picture per side; the linear model gives many."""
    image = smooth()
    different = {
        depth: len({turn(image, warp).tobytes() for warp in warps(SIZE, (45.0, 45.0), 0.0, depth)})
        for depth in ("mean", "linear_3dmm")
    }
    assert different == {"mean": 2, "linear_3dmm": 12}


@pytest.mark.parametrize("yaw", [-0.9, 0.4])
def test_a_persons_own_depth_is_nearer_to_the_truth_than_the_mean(yaw):
    """The warp for a person's own depth is far nearer to the exact one than that of the mean."""
    depth, surface = turned._surface(SIZE)
    relief = canonical_faces(100, SIZE)[0][40] - depth
    relief -= relief[surface].median()
    view = aligned_view(depth, 0.1, yaw)
    near, far, exact = (
        turned.warp_of(one, surface, view) for one in (depth, depth + turned.STEP, depth + relief)
    )
    found = turned.between_warps(near, far, relief.numpy())
    inside = (near.head > 0.99) & (exact.head > 0.99)
    before, after = (np.abs(warp.x - exact.x)[inside].mean() for warp in (near, found))
    assert before > 0.2 and after < 0.15 * before


@pytest.fixture
def reconstructor(tmp_path):
    """The folder of an untrained reconstructor, whose depths differ between images."""
    torch.manual_seed(0)
    config = {"type": "Unsup3DReconstructor", "image_size": 16, "width": 4}
    model = MODELS.build(config)
    torch.nn.init.normal_(model.depth_network.network[-1].weight, std=0.5)
    write_weights(tmp_path / RECONSTRUCTOR_WEIGHTS, model.state_dict())
    (tmp_path / DESCRIPTION).write_text(json.dumps({"reconstructor": config, "image_size": 16}))
    return str(tmp_path)


def test_a_learned_depth_is_predicted_once_per_image(reconstructor, monkeypatch):
    image, other = smooth(), smooth()[:, ::-1].copy()
    found = turned.learned(reconstructor)
    asked = []
    depth_of = found.model.depth_of
    monkeypatch.setattr(
        found.model, "depth_of", lambda images: asked.append(images) or depth_of(images)
    )
    first, again, another = map(found.relief, (image, image, other))
    assert len(asked) == 2 and asked[0].shape == (1, 3, 16, 16) and asked[0].abs().max() <= 1
    assert (first == again).all() and not (first == another).all()
    head = turned._surface(SIZE)[1].numpy()
    assert first.shape == (SIZE, SIZE) and abs(np.median(first[head])) < 1e-4
    assert np.abs(first).max() <= turned.RELIEF
    with torch.no_grad():
        depth = cv2.resize(depth_of(asked[0])[0].numpy(), (SIZE, SIZE))
    expected = (depth - turned._surface(SIZE)[0].numpy())[head]
    expected = (expected - np.median(expected)).clip(-turned.RELIEF, turned.RELIEF)
    assert np.abs(first[head] - expected).max() < 1e-4


def test_an_image_is_turned_on_its_learned_depth(reconstructor, monkeypatch):
    image = smooth()
    transform = TurnedFaces(1.0, YAW, PITCH, depth="learned", reconstructor=reconstructor)
    draw = lambda: transform({"img": image, "rng": np.random.default_rng(3)})["img"]  # noqa: E731
    learned = draw()
    mean = TurnedFaces(1.0, YAW, PITCH)({"img": image, "rng": np.random.default_rng(3)})["img"]
    assert (learned != mean).any()
    monkeypatch.setattr(
        turned.LearnedDepth, "relief", lambda self, image: np.zeros(image.shape[:2], np.float32)
    )
    assert (draw() == mean).all()


def test_a_folder_without_a_reconstructor_is_named_at_the_first_image(tmp_path):
    transform = TurnedFaces(1.0, depth="learned", reconstructor=str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"none/model\.json: "):
        transform({"img": smooth(), "rng": np.random.default_rng(0)})


@pytest.mark.parametrize(("degrees", "left_alone"), [(0, False), (-16, False), (24, True)])
def test_a_face_that_is_already_turned_stays_as_it_is(degrees, left_alone):
    points = landmark_points(turned._surface(SIZE)[0])
    view = aligned_view(turned._surface(SIZE)[0], 0.0, math.radians(degrees))
    landmarks = seen_landmarks(points, view, SIZE, CENTRE)[0].numpy()
    face = {"img": smooth(), "landmarks": landmarks, "rng": np.random.default_rng(0)}
    found = TurnedFaces(1.0, YAW, PITCH)(face)
    assert (found["img"] is face["img"]) == left_alone
    assert (found["landmarks"] is landmarks) == left_alone


def test_landmarks_turn_with_the_face():
    face = {"img": smooth(), "landmarks": TEMPLATE, "rng": np.random.default_rng(0)}
    found = TurnedFaces(1.0, YAW, PITCH)(face)["landmarks"]
    assert found.shape == (5, 2) and found.dtype == np.float32
    assert turned.is_turned(found)
    # The landmarks are aligned, and their yaw is that of one of the views.
    moved = np.c_[found, np.ones(5)] @ estimate_norm(found).T
    assert np.abs(moved - found).max() < 0.1
    yaw = view_of_landmarks(torch.from_numpy(found)[None], CENTRE)[0, 1].rad2deg().abs()
    assert YAW[0] - 4 < yaw < YAW[1] + 4

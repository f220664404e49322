"""Views from landmarks agree with the renderer's camera, synthetic photos and symmetry."""

import numpy as np
import pytest
import torch

from lh2face.augmentation.transforms import RandomMirror
from lh2face.data.align import TEMPLATE, aligned_landmarks
from lh2face.data.synthetic.canonical import seen_landmarks
from lh2face.data.synthetic.face_model import sample_identity
from lh2face.data.synthetic.photograph import photograph, random_scene
from lh2face.functional.view import mirror_view
from lh2face.reconstruction.base import ROTATION_CENTER
from lh2face.reconstruction.pose import mean_points, view_of_landmarks
from lh2face.registry import MODELS

RECONSTRUCTOR = {
    "type": "Unsup3DReconstructor", "image_size": 16, "width": 4, "pose": "landmarks",
}  # fmt: skip


def photographed() -> tuple[torch.Tensor, torch.Tensor]:
    """Return landmarks of aligned synthetic photos ``(N, 5, 2)``, and yaw and pitch in degrees."""
    rng, landmarks, angles = np.random.default_rng(0), [], []
    for seed in np.random.SeedSequence(5).spawn(12):
        kinds = ["any"] * 3 + ["profile"] * 2 + ["frontal"]
        scenes = [
            random_scene(kind, rng, one) for kind, one in zip(kinds, seed.spawn(6), strict=True)
        ]
        for taken in photograph(sample_identity(rng), scenes, 64):
            landmarks.append(aligned_landmarks(taken.landmarks))
            angles.append(np.degrees(taken.view[[1, 0]]))
    return torch.from_numpy(np.stack(landmarks)), torch.from_numpy(np.stack(angles))


def test_the_yaw_of_different_people_is_found():
    landmarks, angles = photographed()
    found = view_of_landmarks(landmarks, ROTATION_CENTER)[:, [1, 0]].rad2deg()
    error = (found - angles).abs()
    profile = angles[:, 0].abs() > 40
    assert profile.sum() > 20
    assert error[profile, 0].mean() < 3.5 and error[~profile, 0].mean() < 2
    assert error[:, 1].mean() < 4


def test_the_view_of_the_mean_face_is_found():
    view = torch.tensor([[0.1, 0.9, 0.1, 0.01, 0.0, 0.02], [-0.2, -0.3, 0.0, 0.0, 0.01, 0.0]])
    landmarks = seen_landmarks(mean_points(), view, 112, ROTATION_CENTER)
    found = view_of_landmarks(landmarks, ROTATION_CENTER)
    torch.testing.assert_close(found[:, :3], view[:, :3], atol=0.05, rtol=0)
    # The prior changes the view, but moves no landmark by half a pixel.
    again = seen_landmarks(mean_points(), found, 112, ROTATION_CENTER)
    assert (again - landmarks).abs().max() < 0.5


def test_a_face_at_the_template_looks_straight_ahead():
    view = view_of_landmarks(torch.from_numpy(TEMPLATE)[None], ROTATION_CENTER)
    assert view[0, 1:3].abs().rad2deg().max() < 1 and view[0, 0].abs().rad2deg() < 3


def test_the_mirror_image_has_the_mirrored_view():
    landmarks, _ = photographed()
    image = np.zeros((112, 112, 3), np.uint8)
    mirrored = np.stack(
        [RandomMirror(1.0)({"img": image, "landmarks": one})["landmarks"] for one in
         landmarks.numpy()]
    )  # fmt: skip
    one, other = (
        view_of_landmarks(points, ROTATION_CENTER)
        for points in (landmarks, torch.from_numpy(mirrored))
    )
    torch.testing.assert_close(other, mirror_view(one), atol=2e-3, rtol=0)


def test_faces_are_rendered_in_the_view_of_their_landmarks(monkeypatch):
    torch.manual_seed(0)
    model = MODELS.build(RECONSTRUCTOR)
    landmarks, images = photographed()[0][:4], torch.rand(4, 3, 16, 16) * 2 - 1
    landmarks[0, 2] += torch.tensor([40.0, 20.0])  # a view outside the range of the network
    views = []
    render = model.renderer.render
    monkeypatch.setattr(
        model.renderer, "render", lambda image, depth, view: views.append(view)
        or render(image, depth, view),
    )  # fmt: skip
    face = model(images)
    terms = model.loss(images, face, landmarks)
    assert "loss_prior" not in terms
    expected = view_of_landmarks(landmarks, ROTATION_CENTER)
    assert (expected.abs() > model.view_range).any()
    expected = expected.clamp(-model.view_range, model.view_range)
    torch.testing.assert_close(views[0], expected.repeat(2, 1))
    shares = (face.view - expected) / model.view_range
    torch.testing.assert_close(terms["loss_pose"], shares.abs().mean())
    # The network learns the view from this term alone.
    parameter = next(model.view_network.parameters())
    total = sum(value for name, value in terms.items() if name != "loss_pose")
    assert torch.autograd.grad(total, parameter, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.grad(terms["loss_pose"], parameter)[0].abs().sum() > 0


def test_without_landmarks_the_networks_view_is_rendered(monkeypatch):
    torch.manual_seed(0)
    model = MODELS.build(RECONSTRUCTOR)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    face = model(images)
    terms = model.loss(images, face)
    assert not terms.keys() & {"loss_pose", "loss_prior"}
    parameter = next(model.view_network.parameters())
    assert torch.autograd.grad(terms["loss_image"], parameter)[0].abs().sum() > 0


def test_an_unknown_pose_is_refused():
    with pytest.raises(ValueError, match="pose: expected one of images, landmarks, found 'eyes'"):
        MODELS.build({**RECONSTRUCTOR, "pose": "eyes"})


def test_training_with_landmark_pose_needs_landmarks():
    trainer = MODELS.build({"type": "ReconstructorTrainer", "reconstructor": RECONSTRUCTOR})
    images = torch.zeros(1, 3, 16, 16)
    with pytest.raises(ValueError, match="landmarks: the reconstructor learns the pose from them"):
        trainer(images, mode="loss")
    terms = trainer(images, mode="loss", landmarks=torch.from_numpy(TEMPLATE)[None])
    assert "loss_pose" in terms

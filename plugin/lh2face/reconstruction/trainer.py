"""The mmengine model that trains a reconstructor without a recognizer."""

from typing import Any

from mmengine.model import BaseModel
from torch import Tensor

from lh2face.reconstruction.base import Reconstruction, Reconstructor
from lh2face.registry import MODELS


@MODELS.register_module()
class ReconstructorTrainer(BaseModel):  # type: ignore[misc]  # mmengine has no types
    """A reconstructor as a model of mmengine, with a preprocessor of its images.

    Args:
        reconstructor: Config of the reconstructor.
        data_preprocessor: Config of the preprocessor; :class:`FacePreprocessor` if ``None``.
        init_cfg: See :class:`mmengine.model.BaseModule`.

    Example:
        ``model = dict(type="ReconstructorTrainer",
        reconstructor=dict(type="Unsup3DReconstructor", image_size=64))``
    """

    def __init__(
        self,
        reconstructor: dict[str, Any],
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor or {"type": "FacePreprocessor"}, init_cfg)
        self.reconstructor: Reconstructor = MODELS.build(reconstructor)

    def forward(
        self,
        inputs: Tensor,
        label: Tensor | None = None,
        mode: str = "tensor",
        landmarks: Tensor | None = None,
    ) -> Reconstruction | dict[str, Tensor]:
        """Reconstruct faces, or compute the losses.

        Args:
            inputs: ``(B, 3, S, S)`` RGB in [−1, 1], S the reconstructor's ``image_size``.
            label: Labels of the images; not used.
            mode: ``"tensor"`` for the reconstruction, ``"loss"`` for the losses of a training step.
            landmarks: ``(B, 5, 2)`` landmarks in px of a crop of 112 × 112; required in the mode
                ``"loss"`` if the reconstructor learns the pose from them.

        Returns:
            The reconstruction, or scalar losses by name.

        Raises:
            ValueError: If ``mode`` has another value, or required landmarks are missing.
        """
        if mode not in ("tensor", "loss"):
            raise ValueError(f"mode: expected 'loss' or 'tensor', found {mode!r}")
        if mode == "tensor":
            face: Reconstruction = self.reconstructor(inputs)
            return face
        return self.reconstruction_loss(inputs, landmarks)

    def reconstruction_loss(self, images: Tensor, landmarks: Tensor | None) -> dict[str, Tensor]:
        """Compute the losses of a training step; see :meth:`forward`."""
        if landmarks is None and self.reconstructor.pose == "landmarks":
            raise ValueError(
                "landmarks: the reconstructor learns the pose from them, found none; set "
                "landmarks=True in the data set's config"
            )
        return self.reconstructor.loss(images, self.reconstructor(images), landmarks)

"""The mmengine model that combines a backbone, a head and optionally a reconstructor."""

from typing import Any, cast

import torch
from mmengine.model import BaseModel
from torch import Tensor

from lh2face.functional.resize import resize
from lh2face.functional.view import view_consistency_loss
from lh2face.recognizers.fusion import FUSION_CHANNELS, fuse
from lh2face.registry import MODELS


@MODELS.register_module()
class FaceRecognizer(BaseModel):  # type: ignore[misc]  # mmengine has no types
    """A backbone with a head, trained alone or jointly with a reconstructor.

    Joint training minimises ``L_FR + reco_weight · L_reco + canon_weight · L_FR^canon +
    view_weight · L_view`` (arXiv 2506.23555). ``L_FR`` is the head's loss on the images,
    ``L_FR^canon`` its loss on the canonical faces, and ``L_reco`` the reconstructor's own loss.

    Args:
        backbone: Config of the backbone; its ``in_channels`` is set from ``fusion``.
        head: Config of the head; ``None`` for a recognizer that only embeds.
        reconstructor: Config of the reconstructor; ``None`` to train without one.
        reco_weight: Weight of the reconstruction loss, ≥ 0.
        canon_weight: Weight of the head's loss on the canonical face, ≥ 0.
        view_weight: Weight of the view loss, ≥ 0.
        view_prior: Weight of the prior inside the view loss, ≥ 0.
        fusion: Additional input of the backbone beside the image: ``"none"``, ``"canonical"`` (the
            shaded canonical face, 3 channels), ``"depth"`` (its depth, 1 channel) or
            ``"canonical_depth"`` (both, 4 channels).
        data_preprocessor: Config of the preprocessor; :class:`FacePreprocessor` if ``None``.
        init_cfg: See :class:`mmengine.model.BaseModule`.

    Raises:
        ValueError: If ``fusion`` is unknown or needs a reconstructor and there is none, or if a
            weight is negative.

    Example:
        ``model = dict(type="FaceRecognizer", backbone=dict(type="MobileFaceNet"),
        head=dict(type="LH2FaceHead", num_classes=1000))``
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        head: dict[str, Any] | None = None,
        reconstructor: dict[str, Any] | None = None,
        reco_weight: float = 1.0,
        canon_weight: float = 1.0,
        view_weight: float = 1.0,
        view_prior: float = 0.01,
        fusion: str = "none",
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor or {"type": "FacePreprocessor"}, init_cfg)
        if fusion not in FUSION_CHANNELS:
            raise ValueError(f"fusion: expected one of {sorted(FUSION_CHANNELS)}, found {fusion!r}")
        if fusion != "none" and reconstructor is None:
            raise ValueError(f"fusion: {fusion!r} needs a reconstructor, found none")
        weights = {
            "reco_weight": reco_weight,
            "canon_weight": canon_weight,
            "view_weight": view_weight,
            "view_prior": view_prior,
        }
        for name, weight in weights.items():
            if weight < 0:
                raise ValueError(f"{name}: expected a weight ≥ 0, found {weight!r}")
        self.backbone = MODELS.build({**backbone, "in_channels": 3 + FUSION_CHANNELS[fusion]}).to(
            memory_format=torch.channels_last
        )
        # Head and reconstructor may also be classes of other toolboxes.
        self.head: Any = None if head is None else MODELS.build(head)
        self.reconstructor: Any = None if reconstructor is None else MODELS.build(reconstructor)
        self.weights = weights
        self.fusion = fusion

    def forward(
        self,
        inputs: Tensor,
        label: Tensor | None = None,
        mode: str = "tensor",
        landmarks: Tensor | None = None,
    ) -> Tensor | dict[str, Tensor] | list[Tensor]:
        """Embed, or compute the losses.

        Args:
            inputs: ``(B, 3, S, S)`` RGB in [-1, 1].
            label: ``(B,)`` int64 identities; read when ``mode`` is ``"loss"``.
            mode: One of three:

                - ``"tensor"``: return the embeddings ``(B, d)`` float32, unnormalised;
                - ``"predict"``: return a list of B tensors ``(2, d)``, the embeddings of each image
                  and its mirror image, as evaluation needs them;
                - ``"loss"``: return the loss terms and statistics of a training step. mmengine sums
                  the entries with "loss" in their names.
            landmarks: ``(B, 5, 2)`` in px of a crop of 112 × 112. Only the loss of a reconstructor
                with ``pose="landmarks"`` reads them.

        Returns:
            The result described at ``mode``.

        Raises:
            ValueError: If ``mode`` is unknown, or ``"loss"`` without a head or labels.
        """
        if mode == "loss":
            return self.loss(inputs, label, landmarks)
        if mode not in ("tensor", "predict"):
            raise ValueError(f"mode: expected 'loss', 'predict' or 'tensor', found {mode!r}")
        if mode == "predict":
            embeddings = self.embed(torch.cat([inputs, inputs.flip(3)]))
            return list(torch.stack(embeddings.chunk(2), dim=1))
        return self.embed(inputs)

    def embed(self, images: Tensor) -> Tensor:
        """Embed images ``(B, 3, S, S)`` in [-1, 1] to ``(B, d)`` float32, unnormalised."""
        reconstruction = None if self.fusion == "none" else self.reconstruct(images)
        embeddings: Tensor = self.backbone(fuse(images, reconstruction, self.fusion))
        return embeddings

    def loss(
        self, images: Tensor, labels: Tensor | None, landmarks: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the loss terms and statistics of a training step.

        Args:
            images: ``(B, 3, S, S)`` RGB in [-1, 1].
            labels: ``(B,)`` int64 identities.
            landmarks: ``(B, 5, 2)`` in px of a crop of 112 × 112, or ``None``.

        Returns:
            Scalars by name; the names of loss terms contain "loss".

        Raises:
            ValueError: If there is no head, or there are no labels.
        """
        if self.head is None:
            raise ValueError("head: this recognizer has none, so it can embed but not train")
        if labels is None:
            raise ValueError("label: training needs the identities (B,), found none")
        if self.reconstructor is None:
            return self.recognition_loss(self.backbone(images), labels)
        return self.joint_loss(images, labels, landmarks)

    def recognition_loss(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the head's loss terms, and ``mean_kappa``, the mean norm of the embeddings."""
        terms = self.head.loss(embeddings, labels)
        # mmengine uses "loss" for the sum of all terms.
        renamed = {"loss_head" if name == "loss" else name: term for name, term in terms.items()}
        return {**renamed, "mean_kappa": embeddings.detach().norm(dim=1).mean()}

    def joint_loss(
        self, images: Tensor, labels: Tensor, landmarks: Tensor | None
    ) -> dict[str, Tensor]:
        """Compute the weighted loss terms of joint training; arguments are those of ``loss``."""
        small = self.to_reconstructor(images)
        face = self.reconstructor(small)
        canonical = resize(face.canonical, images.shape[-1])
        # Both kinds of image pass the backbone together. So batch normalisation uses the statistics
        # of the mixture, as do its running statistics.
        both = torch.cat([fuse(images, face, self.fusion), fuse(canonical, face, self.fusion)])
        embeddings, canonical_embeddings = self.backbone(both).chunk(2)

        # The head gets the images last, so that its running statistics are closest to theirs.
        canonical_terms = self.head.loss(canonical_embeddings, labels)
        terms = self.recognition_loss(embeddings, labels)
        terms["loss_canon"] = self.weights["canon_weight"] * summed_loss(canonical_terms)
        terms["loss_reco"] = self.weights["reco_weight"] * summed_loss(
            self.reconstructor.loss(small, face, landmarks)
        )
        terms["loss_view"] = self.weights["view_weight"] * view_consistency_loss(
            face.view, self.reconstructor.view_of(small.flip(3)), self.weights["view_prior"]
        )
        return terms

    def reconstruct(self, images: Tensor) -> Any:
        """Reconstruct images ``(B, 3, S, S)`` of any size S."""
        return self.reconstructor(self.to_reconstructor(images))

    def to_reconstructor(self, images: Tensor) -> Tensor:
        """Resize images to the reconstructor's size, ``(B, 3, s, s)``."""
        return resize(images, self.reconstructor.image_size)


def summed_loss(terms: dict[str, Tensor]) -> Tensor:
    """Sum the loss terms of a head or reconstructor: all entries with "loss" in their names."""
    return cast(Tensor, sum(value for name, value in terms.items() if "loss" in name))

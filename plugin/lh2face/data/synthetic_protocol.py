"""IJB-B and IJB-C without their images: lists of the same sizes, and features made up for them.

For tests and benchmarks of the evaluation at full size. The features say nothing about faces.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lh2face.data.ijb_meta import IJBMeta, Templates, write_meta

BLOCK = 1 << 14


@dataclass(frozen=True)
class Sizes:
    """How much there is of everything; every subject has one gallery template.

    Attributes:
        images: All images.
        probes: Probe templates.
        galleries: Templates of each gallery.
        genuine: Genuine pairs, each of a gallery template and a probe.
        impostor: Impostor pairs, likewise.
    """

    images: int
    probes: int
    galleries: dict[str, int]
    genuine: int
    impostor: int

    def scaled(self, scale: float) -> "Sizes":
        """As many times the templates and images, and times the square the impostor pairs."""
        return Sizes(
            images=round(self.images * scale),
            probes=round(self.probes * scale),
            galleries={name: round(size * scale) for name, size in self.galleries.items()},
            genuine=round(self.genuine * scale),
            impostor=round(self.impostor * scale**2),
        )


PROTOCOLS = {
    "ijbb": Sizes(227_630, 10_270, {"S1": 931, "S2": 914}, 10_270, 8_000_000),
    "ijbc": Sizes(469_375, 19_593, {"G1": 1_772, "G2": 1_759}, 19_557, 15_638_932),
}


def synthetic_meta(sizes: Sizes, seed: int = 0) -> IJBMeta:
    """Random lists: every template has an image, a third of the media are videos.

    Args:
        sizes: Such as ``PROTOCOLS["ijbc"].scaled(0.01)``.
        seed: Seed of all that is drawn.

    Returns:
        Lists whose template ids are in no order and whose pairs are all different.

    Raises:
        ValueError: If there are not as many impostor pairs.
    """
    rng = np.random.default_rng(seed)
    subjects = sum(sizes.galleries.values())
    templates = subjects + sizes.probes
    ids = rng.permutation(templates) + 1
    gallery, probes = ids[:subjects], ids[subjects:]
    owners = np.arange(sizes.probes) % subjects

    images = np.sort(
        np.r_[np.arange(templates), rng.integers(templates, size=sizes.images - templates)]
    )
    # A frame goes on with the video of the image before; the media of a template are its own.
    goes_on = (rng.random(sizes.images) < 0.5) & (np.diff(images, prepend=-1) == 0)
    points = np.array([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]], np.float32)

    # Impostor pairs as numbers below subjects × probes; draws that repeat or are genuine drop out.
    wanted, pairs = sizes.impostor, np.empty(0, np.int64)
    most = (subjects - 1) * sizes.probes
    if wanted > most:
        raise ValueError(f"impostor: at most {most} pairs of these templates, found {wanted}")
    while len(pairs) < wanted:
        more = rng.integers(subjects * sizes.probes, size=int(1.2 * wanted) + 10)
        pairs = np.unique(np.r_[pairs, more[more // sizes.probes != owners[more % sizes.probes]]])
    pairs = rng.permutation(pairs)[:wanted]
    mates = np.arange(sizes.genuine)
    lists = np.split(np.arange(subjects), np.cumsum(list(sizes.galleries.values()))[:-1])
    return IJBMeta(
        names=[f"{i}.jpg" for i in range(1, sizes.images + 1)],
        landmarks=points + rng.normal(scale=2, size=(sizes.images, 5, 2)).astype(np.float32),
        detector_score=rng.uniform(0.5, 1, sizes.images).astype(np.float32),
        template_ids=np.arange(1, templates + 1)[images],
        media_ids=np.cumsum(~goes_on),
        first=np.r_[gallery[owners[mates]], gallery[pairs // sizes.probes]],
        second=np.r_[probes[mates], probes[pairs % sizes.probes]],
        genuine=np.arange(sizes.genuine + wanted) < sizes.genuine,
        galleries={
            name: Templates(gallery[rows], rows + 1)
            for name, rows in zip(sizes.galleries, lists, strict=True)
        },
        probes=Templates(probes, owners + 1),
    )


def write_features(path: Path, meta: IJBMeta, dim: int = 512, seed: int = 0) -> None:
    """Write features ``(N, dim)`` float32 to a ``.npy`` file, a block at a time.

    A face is its subject's direction, what its template has in common, and noise that differs
    from image to image; the better it is, the longer.

    Args:
        path: The file.
        meta: Lists made by :func:`synthetic_meta`.
        dim: Length of a feature.
        seed: Seed of all that is drawn.
    """
    rng = np.random.default_rng(seed)
    lists = [*meta.galleries.values(), meta.probes]
    subject_of = np.zeros(meta.template_ids.max() + 1, np.int64)
    for templates in lists:
        subject_of[templates.template_ids] = templates.subject_ids
    people = rng.standard_normal((subject_of.max() + 1, dim), np.float32)
    # From pose and the like: shared by the images of a template, so pooling does not remove it.
    common = rng.standard_normal((len(subject_of), dim), np.float32)
    common *= rng.uniform(0.5, 3, (len(subject_of), 1)).astype(np.float32)
    features = np.lib.format.open_memmap(path, "w+", np.float32, (len(meta.names), dim))
    for start in range(0, len(features), BLOCK):
        template = meta.template_ids[start : start + BLOCK]
        noise = rng.standard_normal((len(template), dim), np.float32)
        quality = rng.uniform(0.2, 1, (len(template), 1)).astype(np.float32)
        block = people[subject_of[template]] + common[template] + noise / quality
        block *= 20 * quality / np.linalg.norm(block, axis=1, keepdims=True)
        features[start : start + BLOCK] = block
    features.flush()


def write_protocol(root: Path, protocol: str, *, scale: float = 1, seed: int = 0) -> IJBMeta:
    """Write ``root/meta/<protocol>_*`` and ``root/features.npy``.

    Args:
        root: The folder, made if need be.
        protocol: A key of PROTOCOLS.
        scale: Of the templates and images; full size is 1.
        seed: Seed of all that is drawn.

    Returns:
        The lists.
    """
    meta = synthetic_meta(PROTOCOLS[protocol].scaled(scale), seed)
    write_meta(root, protocol, meta)
    write_features(root / "features.npy", meta, seed=seed)
    return meta

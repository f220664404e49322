"""Random stand-ins for the lists and the features of IJB-B and IJB-C, of the same sizes.

They serve to test and benchmark the evaluation at full size. The features come from no faces.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lh2face.data.ijb_meta import IJBMeta, Templates, write_meta

BLOCK = 1 << 14


@dataclass(frozen=True)
class Sizes:
    """Sizes of a protocol; every subject has one gallery template.

    Attributes:
        images: Number of images.
        probes: Number of probe templates.
        galleries: Number of templates per gallery.
        genuine: Number of genuine pairs of a gallery template and a probe template.
        impostor: Number of impostor pairs of a gallery template and a probe template.
    """

    images: int
    probes: int
    galleries: dict[str, int]
    genuine: int
    impostor: int

    def scaled(self, scale: float) -> "Sizes":
        """Multiply the impostor pairs by ``scale`` squared and all other sizes by ``scale``."""
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
    """Draw random lists in which every template has an image and some media are videos.

    Args:
        sizes: Sizes, such as ``PROTOCOLS["ijbc"].scaled(0.01)``.
        seed: Seed of all random draws.

    Returns:
        Lists with template ids in random order; all pairs are different.

    Raises:
        ValueError: If the templates do not have so many impostor pairs.
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
    # A frame continues the previous image's video; no medium belongs to two templates.
    goes_on = (rng.random(sizes.images) < 0.5) & (np.diff(images, prepend=-1) == 0)
    points = np.array([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]], np.float32)

    # Impostor pairs are numbers below subjects × probes; repeated and genuine draws are dropped.
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
    """Write features ``(N, dim)`` float32 to a ``.npy`` file, block by block.

    The feature of an image is the sum of a vector of its subject, one of its template, and noise.
    The noise is divided by a random quality in [0.2, 1], and the norm is 20 × this quality.

    Args:
        path: The file.
        meta: Lists made by :func:`synthetic_meta`.
        dim: Length of a feature.
        seed: Seed of all random draws.
    """
    rng = np.random.default_rng(seed)
    lists = [*meta.galleries.values(), meta.probes]
    subject_of = np.zeros(meta.template_ids.max() + 1, np.int64)
    for templates in lists:
        subject_of[templates.template_ids] = templates.subject_ids
    people = rng.standard_normal((subject_of.max() + 1, dim), np.float32)
    # Variation such as pose, which all images of a template share, so pooling does not remove it.
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
        root: The folder; its folder ``meta`` is created if it is missing.
        protocol: A key of PROTOCOLS.
        scale: Scale of :meth:`Sizes.scaled`; 1 is full size.
        seed: Seed of all random draws.

    Returns:
        The lists.
    """
    meta = synthetic_meta(PROTOCOLS[protocol].scaled(scale), seed)
    write_meta(root, protocol, meta)
    write_features(root / "features.npy", meta, seed=seed)
    return meta

from dataclasses import replace

import numpy as np
import pytest

from lh2face.data.ijb_meta import read_meta
from lh2face.data.synthetic_protocol import PROTOCOLS, synthetic_meta, write_protocol


@pytest.mark.parametrize(
    ("protocol", "templates", "pairs"), [("ijbb", 12_115, 8_010_270), ("ijbc", 23_124, 15_658_489)]
)
def test_sizes_equal_those_of_the_published_protocols(protocol, templates, pairs):
    sizes = PROTOCOLS[protocol]
    assert sizes.probes + sum(sizes.galleries.values()) == templates
    assert sizes.genuine + sizes.impostor == pairs


def test_lists_are_consistent():
    meta = synthetic_meta(PROTOCOLS["ijbc"].scaled(0.01))
    subject = {}
    for templates in (*meta.galleries.values(), meta.probes):
        subject |= dict(zip(templates.template_ids, templates.subject_ids, strict=True))
    assert set(subject) == set(meta.template_ids)
    first, second = ([subject[t] for t in side] for side in (meta.first, meta.second))
    np.testing.assert_array_equal(np.array(first) == second, meta.genuine)
    pairs = set(zip(meta.first.tolist(), meta.second.tolist(), strict=True))
    assert len(pairs) == len(meta.genuine)
    assert set(meta.second.tolist()) <= set(meta.probes.template_ids.tolist())
    frames = np.bincount(meta.media_ids)
    assert (frames == 1).sum() > 0 and frames.max() > 2


def test_the_same_seed_gives_the_same_files(tmp_path):
    for name in ("a", "b"):
        write_protocol(tmp_path / name, "ijbb", scale=0.005, seed=3)
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 7
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    meta = read_meta(tmp_path / "a", "ijbb")
    features = np.load(tmp_path / "a" / "features.npy", mmap_mode="r")
    assert features.shape == (len(meta.names), 512) and np.isfinite(features).all()


def test_too_many_impostor_pairs_are_refused():
    sizes = replace(PROTOCOLS["ijbb"].scaled(0.001), impostor=1000)
    with pytest.raises(ValueError, match=r"impostor: at most \d+ pairs of these templates"):
        synthetic_meta(sizes)

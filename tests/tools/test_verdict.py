"""A score gives a verdict only where a threshold with a low FAR is known, or the user asks."""

import pytest

from lh2face.tools.verdict import choose_threshold

KNOWN = {
    "threshold": {"0.1": 0.3, "0.01": 0.5, "0.001": 0.7}, "impostor": 30_000, "people": 500,
    "source": "photos", "benchmark": "cfp", "bins": ["fp", "ff"],
}  # fmt: skip
MEASURED = (
    "measured on 30,000 impostor pairs of 500 people, benchmark cfp (fp, ff), source of the faces:"
)


def test_the_threshold_of_the_lowest_far_is_used_and_its_origin_stated():
    limit = choose_threshold(KNOWN, None, None)
    assert (limit.value, limit.refusal, list(limit.doubts)) == (0.7, "", [])
    assert str(limit) == f"0.7000, FAR 0.001, {MEASURED} photos"


def test_a_far_above_one_percent_is_used_only_on_request():
    coarse = {**KNOWN, "threshold": {"0.1": 0.3}, "impostor": 900}
    limit = choose_threshold(coarse, None, None)
    assert limit.value == 0.3 and "one stranger in 10 passes; give --far 0.1 to" in limit.refusal
    asked = choose_threshold(coarse, None, 0.1)
    assert (asked.value, asked.refusal) == (0.3, "")
    assert asked.doubts == ["FAR 0.1 lets one stranger in 10 through"]
    edge = choose_threshold({**coarse, "threshold": {"0.01": 0.5}}, None, None)
    assert edge.refusal == ""


def test_few_pairs_few_people_and_synthetic_faces_are_doubts():
    few = {**KNOWN, "impostor": 10_000, "people": 40, "source": "synthetic"}
    found = choose_threshold(few, None, None).doubts
    assert [part in doubt for part, doubt in zip(
        ("10 false accepts", "40 people", "synthetic faces"), found, strict=True,
    )] == [True] * 3  # fmt: skip
    unknown = {key: value for key, value in KNOWN.items() if key != "people"}
    limit = choose_threshold(unknown, None, None)
    assert "an unknown number of people" in limit.origin and len(limit.doubts) == 1


@pytest.mark.parametrize(
    ("value", "said", "doubts"),
    [
        (0.75, "as given, FAR at most 0.001, measured on 30,000", 0),
        (0.7, "as given, FAR at most 0.001,", 0),
        (0.69, "as given, FAR at most 0.01,", 0),
        (0.3, "as given, FAR at most 0.1,", 1),
        (0.29, "as given, FAR above 0.1, measured on 30,000", 1),
    ],
)
def test_a_given_threshold_has_the_far_of_the_next_lower_known_one(value, said, doubts):
    limit = choose_threshold(KNOWN, value, None)
    assert limit.value == value and limit.refusal == ""
    assert limit.origin.startswith(said) and len(limit.doubts) == doubts


def test_without_calibrated_thresholds_there_is_no_threshold():
    assert choose_threshold(None, None, None).value is None
    assert "no threshold" in choose_threshold({**KNOWN, "threshold": {}}, None, None).refusal
    given = choose_threshold(None, 0.4, None)
    assert str(given) == "0.4000, as given" and given.doubts and not given.refusal

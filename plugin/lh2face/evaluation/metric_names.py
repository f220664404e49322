"""Names of the figures in ``metrics.json``: their paths, and the titles for people."""

import re

TITLES = {
    "verification.tar": "TAR at FAR {}",
    "identification.rank": "rank-{}",
    "identification.tpir": "TPIR at FPIR {}",
    "conditions": "{} TAR at FAR {}",
}
# Areas of the reject curves at a constant threshold and at a constant FAR.
REJECT_AREA, REJECT_AREA_AT_FAR = "reject.area", "reject.area_at_far"
# All other figures are rates of correct decisions.
LESS_IS_BETTER = {REJECT_AREA, REJECT_AREA_AT_FAR}


def title(path: str) -> str:
    """Return the title of a figure, such as "TAR at FAR 1e-4" or "profile accuracy".

    Args:
        path: Its path in ``metrics.json``, such as "verification.tar.0.0001".

    Raises:
        ValueError: If ``metrics.json`` has no such figure.
    """
    if path in LESS_IS_BETTER:
        return "reject-curve area" + (" at a constant FAR" if path == REJECT_AREA_AT_FAR else "")
    try:
        section, rest = path.split(".", 1)
        if section == "bins":  # the name of a bin may contain dots, like a FAR
            name, key = rest.rsplit(".", 1)
            return f"{name} {key}".replace("_", " ")
        _, name, key, _ = re.split(r"^(.+?)\.(\d+(?:\.\d+)?(?:e-?\d+)?)$", rest)
        if section != "identification" and float(key) < 0.1:
            key = f"{float(key):.0e}".replace("e-0", "e-")
        if section == "conditions":
            return TITLES[section].format(name.replace("_", " "), key)
        return TITLES[f"{section}.{name}"].format(key)
    except (KeyError, ValueError):
        raise ValueError(
            f"found the figure {path!r}, allowed are verification.tar.FAR, identification.rank.K, "
            "identification.tpir.FPIR, conditions.KIND.FAR, bins.NAME.accuracy, "
            f"{REJECT_AREA} and {REJECT_AREA_AT_FAR}"
        ) from None

"""The figures of ``metrics.json`` by their paths in it, and how people name them."""

import re

TITLES = {
    "verification.tar": "TAR at FAR {}",
    "identification.rank": "rank-{}",
    "identification.tpir": "TPIR at FPIR {}",
    "conditions": "{} TAR at FAR {}",
}
REJECT_AREA = "reject.area"
# All other figures are rates of what goes right.
LESS_IS_BETTER = {REJECT_AREA}


def title(path: str) -> str:
    """How people name a figure: "TAR at FAR 1e-4", "profile accuracy".

    Raises:
        ValueError: If ``metrics.json`` has no such.
    """
    if path == REJECT_AREA:
        return "reject-curve area"
    try:
        section, rest = path.split(".", 1)
        if section == "bins":  # a list's name may have points in it, as a FAR has
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
            f"identification.tpir.FPIR, conditions.KIND.FAR, bins.NAME.accuracy and {REJECT_AREA}"
        ) from None

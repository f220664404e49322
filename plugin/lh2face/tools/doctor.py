"""``lh2face doctor``: report what this machine has, what is missing, and what to do about it."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from lh2face.text import first_line, printable

if TYPE_CHECKING:
    from packaging.requirements import Requirement

GIB = 1 << 30
# What the default run needs at most, with some reserve.
MEMORY_NEEDED, DISK_NEEDED = 2 * GIB, 2 * GIB
PIPELINE = 'pip install "lh2face[pipeline]"'
# Programs that some parts need: alternative names, the purpose, and how to install one.
PROGRAMS = (
    (("git",), "DVC, and the commit in the report", "apt install git"),
    (("make",), "make reproduce, make test", "apt install make"),
    (("c++", "g++", "clang++"), "torch.compile, which speeds the renderer up", "apt install g++"),
    (("sbatch",), "snakemake --profile workflow/profiles/slurm", "apt install slurm-wlm munge"),
    (("chromium", "google-chrome"), "the tests of the report and the demo", "apt install chromium"),
)


@dataclass(frozen=True)
class Finding:
    """The finding of a check.

    Attributes:
        what: The part that was checked.
        found: The state of this part.
        advice: What to do; empty if nothing is needed.
        required: Whether lh2face does not work without it.
    """

    what: str
    found: str
    advice: str = ""
    required: bool = False


Check = Callable[[], Iterator[Finding]]
CHECKS: dict[str, Check] = {}


def check(section: str) -> Callable[[Check], Check]:
    """Register a check under the name of its section."""

    def register(function: Check) -> Check:
        CHECKS[section] = function
        return function

    return register


def run() -> bool:
    """Print the findings of every check.

    Returns:
        Whether everything that is required is there.
    """
    console = Console(highlight=False)
    works = True
    for section, function in CHECKS.items():
        console.print(f"\n[bold]{section}[/]")
        for finding in function():
            broken = finding.required and finding.advice
            mark = ("✗", "red") if broken else ("–", "yellow") if finding.advice else ("✓", "green")
            words = f" {printable(finding.what)}: {printable(finding.found)}"
            console.print(Text.assemble(" ", mark, words))
            for line in finding.advice.splitlines():
                console.print(Text(f"   → {printable(line)}"))
            works &= not broken
        if not works:
            break  # the next checks may need what is missing
    verdict = "Nothing required is missing." if works else "Something required is missing: see ✗."
    console.print(f"\n{verdict}")
    return works


@check("Required")
def required() -> Iterator[Finding]:
    """Check Python and the packages that the plugin requires."""
    yield Finding("Python", platform.python_version())
    advice = "" if installed("lh2face") else "pip install ."
    yield Finding("lh2face", installed("lh2face") or "not installed", advice, required=True)
    for requirement in requirements(""):
        version = installed(requirement.name)
        good = version is not None and version in requirement.specifier
        advice = "" if good else f'pip install "{requirement}"'
        yield Finding(requirement.name, version or "missing", advice, required=True)
    try:
        import_module("lh2face")
    except ImportError as error:
        yield Finding(
            "import lh2face", str(error), "install the package that it names again", required=True
        )


@check("Optional packages")
def extras() -> Iterator[Finding]:
    """Check the packages that ``pip install lh2face[EXTRA]`` installs."""
    for extra in metadata.metadata("lh2face").get_all("Provides-Extra", []):
        wanted = requirements(extra)
        absent = [
            needed.name
            for needed in wanted
            if (version := installed(needed.name)) is None or version not in needed.specifier
        ]
        found = f"missing or too old: {', '.join(absent)}" if absent else f"all {len(wanted)}"
        yield Finding(extra, found, f'pip install "lh2face[{extra}]"' if absent else "")
    there = find_spec("pytorch3d") is not None
    yield Finding(
        "pytorch3d",
        "installed" if there else "missing",
        "" if there else "not needed: only for comparison with lh2face's faster renderer",
    )


@check("Packages that arcface_torch imports")
def arcface_torch() -> Iterator[Finding]:
    """Check packages that arcface_torch imports; the adapter replaces those that do not work."""
    from lh2face.adapters.arcface_torch import packages

    for name in packages.NAMES:
        error, version = packages.problem(name), installed(name)
        failed = f", does not import: {first_line(error)}" if error else ""
        found = version and version + failed
        advice = "not needed: `lh2face arcface-torch` replaces it" if error else ""
        yield Finding(name, found or "missing", advice)


@check("Machine")
def machine() -> Iterator[Finding]:
    """Check processors, memory and disk."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("CPU", f"{cores} cores, {torch.get_num_threads()} threads for PyTorch")
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield Finding(f"CUDA {index}", f"{device.name}, {device.total_memory / GIB:.0f} GiB")
    if not torch.cuda.device_count():
        driver = shutil.which("nvidia-smi") is not None
        advice = (
            f"there is an NVIDIA driver, but torch {torch.__version__} does not see it: install "
            "the CUDA build that https://pytorch.org/get-started names"
            if driver
            else "everything runs on the CPU, too; but params/full.yaml is meant for a GPU"
        )
        yield Finding("CUDA", "none", advice)
    memory = available_memory()
    if memory is not None:
        advice = "the default run may need more: close other programs" * (memory < MEMORY_NEEDED)
        yield Finding("memory", f"{memory / GIB:.1f} GiB available", advice)
    free = shutil.disk_usage(".").free
    advice = "the default run may need more: free some space" * (free < DISK_NEEDED)
    yield Finding("disk", f"{free / GIB:.1f} GiB free in this folder", advice)
    advice = (
        ""
        if home_is_writable()
        else "snakemake needs a folder for caches: export XDG_CACHE_HOME=/a/folder"
    )
    yield Finding("home", "cannot be written" if advice else "can be written", advice)


@check("Programs")
def programs() -> Iterator[Finding]:
    """Check programs outside of Python."""
    for names, purpose, advice in PROGRAMS:
        path = next(filter(None, map(shutil.which, names)), None)
        needed = f"for {purpose}: {advice}"
        yield Finding(names[0], path or "missing", "" if path else needed)


@check("This folder")
def folder() -> Iterator[Finding]:
    """Check ``params.yaml``, if there is one, and the files and folders that it names."""
    if not Path("params.yaml").exists():
        yield Finding(
            "params.yaml", "none", "only the pipeline needs it: run its stages in a checkout"
        )
        return
    if Path(".dvc").is_dir() and not Path(".git").exists():
        advice = "to use dvc without git, as make does: dvc config --local core.no_scm true"
        yield Finding("git", "none in this folder", advice)
    try:
        from lh2face.params import ParamsError, load_params
    except ImportError as error:
        yield Finding("params.yaml", f"not checked: {error}", PIPELINE)
        return
    try:
        params = load_params()
    except ParamsError as error:
        yield Finding("params.yaml", "cannot be used", str(error), required=True)
        return
    yield Finding("params.yaml", "can be used")
    parts = [
        (f"{section}.{name}", config)
        for section in ("sources", "benchmarks")
        for name, config in getattr(params, section).items()
    ]
    parts += [(f"{key}.detector", getattr(config, "detector", None)) for key, config in parts]
    used = [(key, part.type, part.path) for key, part in parts if hasattr(part, "path")]
    used += [(f"others.{other.name}", "model", other.path) for other in params.others]
    for key, kind, path in used:
        there = Path(path).exists()
        found = f"{kind}: {path}" + " does not exist" * (not there)
        yield Finding(key, found, "" if there else f"set {key}.path", required=True)
    for made in ("data/raw", "data/aligned", "runs/fit3d", "report"):
        there = Path(made).is_dir()
        yield Finding(made, "there" if there else "not made yet", "" if there else "dvc repro")


def requirements(extra: str) -> list["Requirement"]:
    """Return the requirements of an extra of lh2face, or of the plugin for an empty name."""
    from packaging.requirements import Requirement

    wanted = map(Requirement, (installed("lh2face") and metadata.requires("lh2face")) or [])
    if not extra:
        return [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return [r for r in wanted if r.marker and r.marker.evaluate({"extra": extra})]


def installed(name: str) -> str | None:
    """Return the version of a package; ``None`` if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def home_is_writable() -> bool:
    """Whether a folder for caches can be written: ``XDG_CACHE_HOME``, or else the home folder."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home())
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        with TemporaryDirectory(dir=existing):
            return True
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return False


def available_memory() -> int | None:
    """Return the available memory in bytes; ``None`` if the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    values = dict(line.split(":") for line in lines)
    return int(values["MemAvailable"].split()[0]) * 1024

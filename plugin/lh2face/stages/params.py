"""The typed form of ``params.yaml``: every knob of the pipeline, checked before anything runs."""

import dataclasses
import functools
import operator
import types
import typing
from collections.abc import Mapping
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import Node

from lh2face.data.benchmarks import BENCHMARKS, PAIRED
from lh2face.data.detectors import check_one_way
from lh2face.data.training_sources import TRAINING_SOURCES, Seed
from lh2face.evaluation.protocol import Protocol
from lh2face.stages.recipe import check_recipe, check_reconstruction, load_recipe

if TYPE_CHECKING:
    from mmengine.config import Config

# Bounds of a YAML file; its nodes are counted with every alias written out.
LARGEST_FILE, MOST_NODES = 1 << 16, 20_000
MOST_ERRORS = 10
# Sections that an overlay does not add to.
REPLACED = {"sources", "benchmarks", "validation"}
# Arguments of a head that the training faces and the backbone decide.
OF_TRAINING = frozenset({"num_classes", "in_channels"})
# What has a folder of its own beside those of the heads.
RESERVED = {"untrained", "fit3d", "depth"}


def unique(values: list[Any]) -> list[Any]:
    """A list in which nothing is twice; ``ValueError`` if something is."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"found {value!r} more than once")
    return values


def not_reserved(name: str) -> str:
    """A name that a head may have; ``ValueError`` if the pipeline uses it itself."""
    if name in RESERVED:
        raise ValueError(f"reserved, like all of {sorted(RESERVED)}")
    return name


def ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    """Numbers each larger than the one before; ``ValueError`` if not."""
    for one, following in pairwise(values):
        if one >= following:
            raise ValueError(f"expected ascending numbers, found {following} after {one}")
    return values


Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(unique)]
# Names become parts of paths and of command lines.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$", max_length=100)]
HeadName = Annotated[Name, AfterValidator(not_reserved)]
Weight = Annotated[float, Field(ge=0)]
Checked = TypeVar("Checked", bound=BaseModel)


class ParamsError(ValueError):
    """``params.yaml`` cannot be used; the message names each key at fault."""


class Section(BaseModel):
    """A part of ``params.yaml``: no unknown keys, no conversions but from 30 to 30.0."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _from_dataclass(name: str, cls: type, **more: Any) -> type[Section]:
    """A section with the fields, types and defaults of a dataclass, so each knob is named once.

    Args:
        name: Of the section.
        cls: The dataclass; a field may hold another one.
        more: Further fields as (type, default).
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {
        field.name: (
            _with_sections(hints[field.name]),
            ... if field.default is dataclasses.MISSING else field.default,
        )
        for field in dataclasses.fields(cls)
    }
    return create_model(name, __base__=Section, __doc__=cls.__doc__, **fields, **more)


def _with_sections(hint: Any) -> Any:
    """A type, dataclasses in it as sections."""
    if dataclasses.is_dataclass(hint):
        return _from_dataclass(hint.__name__, hint)
    if typing.get_origin(hint) is Annotated:
        return Annotated[_with_sections(hint.__origin__), *hint.__metadata__]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return functools.reduce(operator.or_, map(_with_sections, get_args(hint)))
    return hint


def _any_of(registry: Mapping[str, type]) -> Any:
    """A section for every type of a registry, told apart by ``type``."""
    sections = [
        _from_dataclass(cls.__name__, cls, type=(Literal[name], ...))
        for name, cls in registry.items()
    ]
    return Annotated[functools.reduce(operator.or_, sections), Field(discriminator="type")]


class Recipe(Section):
    """A training whose recipe is an mmengine config.

    Attributes:
        config: The recipe: network, batch, optimizer, schedule, augmentation.
        options: Values put over it, by dotted name.
    """

    config: str
    options: dict[str, Any] = {}

    def recipe(self, folder: Path = Path()) -> "Config":
        """The config with the options in it.

        Args:
            folder: That of ``params.yaml``, which ``config`` is relative to.

        Raises:
            RecipeError: As :func:`lh2face.stages.recipe.load_recipe`.
        """
        return load_recipe(folder / self.config, self.options)


class Fit3D(Recipe):
    """Training of the reconstructor on the aligned faces.

    Attributes:
        config: The recipe, an mmengine config: reconstructor, batch, optimizer, schedule.
        options: Values put over it, by dotted name.
        seed: Seed of weights and batches.
    """

    seed: Seed = 0


class Init(Section):
    """Weights to begin a training from.

    Attributes:
        path: What :func:`~lh2face.training.weights.read_weights` reads.
    """

    path: str


class Train(Recipe):
    """Training of a recognizer, the same for every head.

    Attributes:
        config: The recipe, an mmengine config: network, batch, optimizer, schedule, augmentation.
        options: Values put over it, by dotted name.
        init: The weights to begin from, of which there may be none.
    """

    init: Annotated[list[Init], Field(max_length=1)] = []


class Joint(Section):
    """Weights of the joint loss (arXiv 2506.23555): reconstruction, canonical face, view.

    Attributes:
        reco_weight: Weight of the reconstructor's own loss.
        canon_weight: Weight of the head's loss on the canonical face.
        view_weight: Weight of the view's consistency under mirroring.
        fusion: What the backbone reads beside the image.
    """

    reco_weight: Weight
    canon_weight: Weight
    view_weight: Weight
    fusion: Literal["none", "canonical", "canonical_depth"]


class Evaluate(_from_dataclass("Protocol", Protocol)):
    """Switches of the IJB protocol and of the figures drawn from it.

    Attributes:
        bootstrap: Rounds of the bootstrap over templates.
    """

    vmf_dim: Annotated[int, Field(ge=2)]
    # Of YAML's lists; the numbers in them stay strict.
    far: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...],
        Field(min_length=1, strict=False),
        AfterValidator(ascending),
    ]
    bootstrap: Annotated[int, Field(ge=2, le=1_000_000)]
    seed: Seed = 0


class Other(Section):
    """A model of others.

    Attributes:
        name: Of its row.
        path: A recognition ONNX file, such as insightface's ``w600k_r50.onnx``.
    """

    name: HeadName
    path: str


class Embed(Section):
    """How the benchmark is divided into jobs.

    Attributes:
        shards: Number of jobs that embed it.
        shard: Their numbers: 0 … shards − 1.
    """

    shards: Annotated[int, Field(gt=0, le=10_000)]
    shard: list[int]

    @model_validator(mode="after")
    def _all_shards(self) -> "Embed":
        expected = list(range(self.shards))
        if self.shard != expected:
            raise ValueError(
                f"shard: found {self.shard!r:.100}, expected every number from 0 to "
                f"{self.shards - 1}, in order"
            )
        return self


class Compare(Section):
    """What the DAG runs over: every head with every seed.

    Attributes:
        heads: Heads trained alone, names out of ``heads``.
        joint_heads: Heads trained together with the reconstructor, other names out of ``heads``.
        models: The rows of the table: ``untrained``, all of the above, and those of ``others``.
        seeds: A run of every head each.
        benchmarks: What every model is tested on: all names of ``benchmarks``.
    """

    heads: Annotated[list[HeadName], AfterValidator(unique)]
    joint_heads: Annotated[list[HeadName], AfterValidator(unique)]
    models: Annotated[list[Name], AfterValidator(unique)]
    seeds: Seeds
    benchmarks: Annotated[list[Name], Field(min_length=1), AfterValidator(unique)]

    @model_validator(mode="after")
    def _heads_are_apart(self) -> "Compare":
        if not self.heads and not self.joint_heads:
            raise ValueError("heads, joint_heads: both are empty, there is nothing to train")
        if both := set(self.heads) & set(self.joint_heads):
            raise ValueError(f"joint_heads: found {sorted(both)}, which are in heads too")
        return self


class Params(Section):
    """All of ``params.yaml``.

    Attributes:
        workers: Processes that make and align faces; results do not depend on it.
        sources: Who is trained on, by a name of your choice; people of one are none of another.
        benchmarks: What is tested on, likewise.
        validation: What training is validated on, pairs of people who are in neither of these.
        others: Models of others, which are evaluated beside those that are trained.
        heads: Registered heads and their arguments, by a name of your choice.
    """

    workers: Annotated[int, Field(gt=0, le=1024)]
    sources: Annotated[dict[Name, _any_of(TRAINING_SOURCES)], Field(min_length=1)]  # type: ignore[valid-type]
    benchmarks: Annotated[
        dict[Name, _any_of(BENCHMARKS)], Field(min_length=1)  # type: ignore[valid-type]
    ]
    validation: dict[Name, _any_of(PAIRED)]  # type: ignore[valid-type]
    fit3d: Fit3D
    compare: Compare
    train: Train
    joint: Joint
    others: list[Other]
    embed: Embed
    heads: dict[HeadName, dict[str, Any]]
    evaluate: Evaluate

    @model_validator(mode="after")
    def _parts_exist(self) -> "Params":
        import lh2face  # noqa: F401  registers
        from lh2face.registry import check

        for name, config in self.heads.items():
            check("head", config, f"heads.{name}", given=OF_TRAINING)
        for name in (*self.compare.heads, *self.compare.joint_heads):
            if name not in self.heads:
                raise ValueError(
                    f"compare: found the head {name!r}, allowed are {sorted(self.heads)} (heads)"
                )
        others = unique([other.name for other in self.others])
        if both := set(others) & set(self.heads):
            raise ValueError(f"others: found {sorted(both)}, which are names in heads too")
        expected = {"untrained", *self.compare.heads, *self.compare.joint_heads, *others}
        if set(self.compare.models) != expected:
            raise ValueError(
                f"compare: models: found {self.compare.models}, expected {sorted(expected)}"
            )
        if set(self.compare.benchmarks) != set(self.benchmarks):
            raise ValueError(
                f"compare.benchmarks: found {self.compare.benchmarks}, expected the names of "
                f"benchmarks: {sorted(self.benchmarks)}"
            )
        return self

    @model_validator(mode="after")
    def _recipes_can_be_built(self, info: ValidationInfo) -> "Params":
        folder = (info.context or {}).get("folder", Path())
        heads = {f"heads.{name}": config for name, config in self.heads.items()}
        checks = {
            "train": lambda recipe: check_recipe(recipe, heads),
            "fit3d": check_reconstruction,
        }
        for section, check_it in checks.items():
            try:
                check_it(getattr(self, section).recipe(folder))
            except ValueError as error:
                raise ValueError(f"{section}: {error}") from error
        return self

    @model_validator(mode="after")
    def _faces_are_found_in_one_way(self) -> "Params":
        for section in ("sources", "benchmarks", "validation"):
            for name, config in getattr(self, section).items():
                check_one_way(config, f"{section}.{name}")
        return self

    @model_validator(mode="after")
    def _nobody_is_trained_and_tested_on(self) -> "Params":
        if both := sorted(set(self.benchmarks) & set(self.validation)):
            raise ValueError(f"validation: found {both}, which are names in benchmarks too")
        benchmarks = _named(self.benchmarks, "benchmarks")
        validation = _named(self.validation, "validation")
        sources = _named(self.sources, "sources")
        for (name, source), (other, asked) in product(sources, [*benchmarks, *validation]):
            # The source leaves out whomever the other has.
            if _same_folder(source, asked) and not (
                _division(source) == _division(asked) and _folds(source) >= _folds(asked) > set()
            ):
                raise ValueError(
                    f"{name}, {other}: both have people of {source.path}; "
                    "give both the same held_out, aligned, landmarks and detector, or some people "
                    "would be trained and tested on"
                )
        for (name, one), (other, asked) in product(validation, benchmarks):
            if _same_people(one, asked):
                raise ValueError(
                    f"{name}, {other}: both may have the same people of {one.path}; give {name} "
                    f"another path or {TOLD_APART_BY[one.type]}, or weights would be chosen on the "
                    "people whom they are tested on"
                )
        return self

    def source(self, name: str) -> Any:
        """A training source.

        Raises:
            ParamsError: If there is none of that name.
        """
        return _made(TRAINING_SOURCES, self.sources, "sources", name)

    @property
    def paired(self) -> dict[str, Any]:
        """The sections of ``benchmarks`` and ``validation``, which have no name in common."""
        return {**self.benchmarks, **self.validation}

    def benchmark(self, name: str) -> Any:
        """The source of a benchmark or of a validation; raises as :meth:`source`."""
        return _made(BENCHMARKS, self.paired, "benchmarks, validation", name)


# What, beside its path, tells the people of one validation or benchmark of a type from another's.
TOLD_APART_BY = {
    "synthetic": "seed", "bin": "file", "pairs": "list", "image_folder": "held_out.fold"
}  # fmt: skip


def _named(sections: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    """Sections with their dotted keys."""
    return [(f"{key}.{name}", section) for name, section in sections.items()]


def _same_folder(one: Any, other: Any) -> bool:
    """Whether both have people of one folder of photos."""
    same = one.type == other.type == "image_folder"
    return same and Path(one.path).resolve() == Path(other.path).resolve()


def _division(config: Any) -> dict[str, Any]:
    """How a folder's people are divided: who is usable, and so their order, depends on it too."""
    found: dict[str, Any] = config.model_dump(
        include={"held_out", "aligned", "landmarks", "detector"}
    )
    (found["held_out"] or {}).pop("fold", None)
    return found


def _folds(config: Any) -> set[int]:
    """The folds that a folder's ``held_out`` names; none for all people."""
    fold = config.held_out.fold if config.held_out else []
    return {fold} if isinstance(fold, int) else set(fold)


def _same_people(one: Any, other: Any) -> bool:
    """Whether a validation and a benchmark may have people in common."""
    if _same_folder(one, other):
        # The folds of one division have nobody in common; without any, all people are meant.
        first, second = _folds(one), _folds(other)
        apart = first and second and first.isdisjoint(second)
        return not apart or _division(one) != _division(other)
    return one.type == other.type and _who(one) == _who(other)


def _who(config: Any) -> Path:
    """The people of a validation or a benchmark, as a path below that of its files."""
    value = getattr(config, TOLD_APART_BY[config.type], None)
    return Path(config.path, "" if value is None else str(value)).resolve()


def _made(registry: Mapping[str, type], sections: Mapping[str, Any], key: str, name: str) -> Any:
    if name not in sections:
        raise ParamsError(f"{key}: found {name!r:.100}, allowed are {sorted(sections)}")
    values = sections[name].model_dump()
    return TypeAdapter(registry[values.pop("type")]).validate_python(values)


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check the parameters.

    Raises:
        ParamsError: If the file is missing, is not YAML, or a key is unknown, missing or has a
            value that is not allowed.
    """
    return checked(Params, read_yaml(path), path, path.parent)


def read_yaml(path: Path) -> dict[str, Any]:
    """The values of a YAML file.

    Raises:
        ParamsError: If the file is missing, is not YAML, is too large, or holds no mapping.
    """
    return parse_yaml(YAML(typ="safe"), read_text(path), path)


def read_text(path: Path) -> str:
    """The text of a file of parameters; raises as :func:`read_yaml`."""
    if not path.exists():
        raise ParamsError(f"{path}: not found; run from the folder that holds it")
    if not path.is_file():
        raise ParamsError(f"{path}: not a file")
    with path.open("rb") as file:
        raw = file.read(LARGEST_FILE + 1)
    if len(raw) > LARGEST_FILE:
        raise ParamsError(f"{path}: larger than {LARGEST_FILE >> 10} KiB, too large for parameters")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: not UTF-8 at byte {error.start}") from None


def parse_yaml(yaml: YAML, text: str, path: Path) -> Any:
    """The mapping of a YAML text; raises as :func:`read_yaml`."""
    try:
        node = YAML(typ="safe").compose(text)
        if written_out(node, {}) > MOST_NODES:
            raise ParamsError(
                f"{path}: more than {MOST_NODES} values, with every alias (*name) written out"
            )
        values = yaml.load(text)
    except RecursionError:
        raise ParamsError(f"{path}: nested too deep") from None
    except (YAMLError, ValueError) as error:
        if isinstance(error, ParamsError):
            raise
        reason = " ".join(str(error).replace('in "<unicode string>",', "at").split())
        raise ParamsError(f"{path}: not valid YAML: {reason}") from None
    if not isinstance(values, dict):
        found = "nothing" if values is None else f"{values!r:.100}"
        raise ParamsError(f"{path}: expected a mapping of keys to values, found {found}")
    return values


def written_out(node: Node | None, known: dict[int, int]) -> int:
    """How many values a YAML node is with all aliases written out.

    Args:
        node: The node; aliases are the same object again.
        known: The counts of nodes seen so far, by ``id``.
    """
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1  # of a node inside of itself, which has no end
        inner = node.value if isinstance(getattr(node, "value", None), list) else []
        parts = [part for one in inner for part in (one if isinstance(one, tuple) else (one,))]
        known[id(node)] = 1 + sum(written_out(part, known) for part in parts)
    return known[id(node)]


def checked(
    schema: type[Checked], values: dict[str, Any], source: Path | str, folder: Path = Path()
) -> Checked:
    """The values of a file in their schema; :class:`ParamsError` names what is not allowed.

    Args:
        schema: The section that the file holds.
        values: Its content.
        source: The file, for messages.
        folder: What the paths of recipes are relative to.
    """
    try:
        return schema.model_validate(values, context={"folder": folder})
    except ValidationError as error:
        # What is there and wrong comes before what is not there: it may be its other name.
        found = sorted(error.errors(), key=lambda item: item["type"] == "missing")
        lines = [f"{source}: {in_words(schema, item)}" for item in found[:MOST_ERRORS]]
        if len(found) > MOST_ERRORS:
            lines.append(f"{source}: and {len(found) - MOST_ERRORS} more")
        raise ParamsError("\n".join(lines)) from None


def in_words(schema: type[BaseModel], error: ErrorDetails) -> str:
    """One of pydantic's errors as a line that begins with the key."""
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message
    keys, section = located(schema, error["loc"])
    # As Python writes text, so that a line break in a key does not break the line.
    key = ".".join(repr(str(part))[1:-1] for part in keys)
    if error["type"] == "missing":
        return f"{key}: missing"
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key, allowed are {', '.join(section.model_fields)}"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        found = f"found {error['ctx']['tag']!r:.100}" if "tag" in error["ctx"] else "missing"
        return f"{key}.type: {found}, allowed are {', '.join(types_of(section))}"
    # What a check of this module found is in its message.
    found = "" if error["type"] == "value_error" else f", found {error['input']!r:.100}"
    return f"{key}: {message}{found}"


def located(schema: Any, location: tuple[int | str, ...]) -> tuple[list[int | str], Any]:
    """The keys of a place in the parameters, and the section that holds the last of them.

    Pydantic's place has, beside the keys, the ``type`` of a section that can be of several; there,
    what it holds are the sections of all types.
    """
    keys: list[int | str] = []
    held: Any = schema
    for part in location:
        if part in (of_type := types_of(schema)):
            schema = of_type[str(part)]
            continue
        keys.append(part)
        held = schema
        inside = getattr(schema, "model_fields", None)
        if inside is None:
            schema = next(iter(get_args(schema)[::-1]), None)
        elif part in inside:
            schema = without_none(inside[str(part)].annotation)
    return keys, schema if types_of(schema) else held


def types_of(schema: Any) -> dict[str, type[Section]]:
    """The sections of a place that can be of several types, by type."""
    if typing.get_origin(schema) is not Annotated:
        return {}
    kinds = typing.get_args(get_args(schema)[0]) or (get_args(schema)[0],)
    return {
        typing.get_args(kind.model_fields["type"].annotation)[0]: kind
        for kind in kinds
        if "type" in getattr(kind, "model_fields", ())
    }


def without_none(hint: Any) -> Any:
    """Of "something or None" the something."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    is_optional = type(None) in get_args(hint) and len(kinds) == 1
    return kinds[0] if is_optional else hint


def merge(base: dict[str, Any], update: dict[str, Any]) -> None:
    """Put the values of ``update`` into ``base``, section by section.

    ``sources``, ``benchmarks`` and ``validation`` are replaced whole where the update gives a type,
    or nothing: other data take the place of those that are there.
    """
    for key, value in update.items():
        whole = not isinstance(value, dict) or not isinstance(base.get(key), dict)
        # A config with a type is one value: its arguments belong to that type alone.
        if whole or "type" in value or (key in REPLACED and (not value or _has_types(value))):
            base[key] = value
        else:
            merge(base[key], value)


def _has_types(section: dict[str, Any]) -> bool:
    return any(isinstance(value, dict) and "type" in value for value in section.values())

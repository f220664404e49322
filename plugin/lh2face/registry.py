"""The registries everything here registers in: mmengine's roots.

A name in a root registry resolves under any toolbox's ``default_scope``, because look-up climbs
from the toolbox's own registry to its parent; a sibling's name would need a prefix.

mmengine's own ``build`` also imports what a dotted name or ``_scope_`` says. A config that a user
writes in Python may need that. One from a file of data (``model.json``, ``params.yaml``) goes
through :func:`check` or :func:`build`, for which only registered classes exist.
"""

import inspect
import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIMIZERS, TRANSFORMS, Registry

from lh2face.text import first_line

__all__ = [
    "DATASETS", "HOOKS", "METRICS", "MODELS", "OPTIMIZERS", "ROLES", "TRANSFORMS", "Registry",
    "Role", "build", "check", "check_arguments",
]  # fmt: skip


# The module that registers the package's own classes. It is above this one, so its name is given.
REGISTER = "lh2face.register"
# A class that builds its parts by name may be used without a config that imports REGISTER, so the
# first look-up does. mmengine takes locations when a registry is made; these were made by mmengine.
for _registry in (DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS):
    _registry._locations.append(REGISTER)
    _registry._imported = False


class Role(NamedTuple):
    """What a class must have to be one part of a model.

    Attributes:
        arguments: Names of arguments that its constructor takes.
        methods: Names of methods.
        registry: Where it is registered.
    """

    arguments: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    registry: Registry = MODELS

    def classes(self) -> dict[str, type]:
        """The registered classes that can be this part, by name."""
        import_module(REGISTER)

        found = sorted(self.registry.module_dict.items())
        return {name: cls for name, cls in found if inspect.isclass(cls) and self.fits(cls)}

    def fits(self, cls: type) -> bool:
        """Whether a class has the arguments and methods."""
        takes = inspect.signature(cls).parameters
        return self.arguments <= takes.keys() and all(hasattr(cls, name) for name in self.methods)


# By the name of the argument that holds the part's config.
ROLES = {
    "recognizer": Role(frozenset({"backbone", "head", "reconstructor"}), frozenset({"loss"})),
    "backbone": Role(
        frozenset({"embedding_size", "image_size", "in_channels"}), frozenset({"forward"})
    ),
    "head": Role(frozenset({"num_classes", "in_channels"}), frozenset({"loss"})),
    "proxies": Role(frozenset({"num_classes", "in_channels"}), frozenset({"target"})),
    "reconstructor": Role(
        frozenset({"image_size"}),
        frozenset({"loss", "view_of", "rendered", "seen_depth", "turned"}),
    ),
    "trainer": Role(frozenset({"reconstructor"}), frozenset({"reconstruction_loss"})),
    "renderer": Role(frozenset({"image_size"}), frozenset({"render", "warp_depth"})),
    "data_preprocessor": Role(methods=frozenset({"cast_data"})),
    "pipeline": Role(registry=TRANSFORMS),
    "optimizer": Role(frozenset({"params", "lr"}), frozenset({"step"}), OPTIMIZERS),
}


def build(role: str, config: Any, where: str, **given: Any) -> Any:
    """Build a part of a model from a config that a file holds.

    Args:
        role: A key of :data:`ROLES`.
        config: ``type``, the name of a registered class, and its arguments.
        where: The file or key that holds the config, for messages.
        **given: Further arguments, which the config must not have.

    Raises:
        ValueError: As :func:`check`, or if the class refuses the arguments.
    """
    check(role, config, where, given)
    try:
        return ROLES[role].registry.build({**config, **given})
    except Exception as error:
        reason = first_line(error)
        raise ValueError(f"{where}: {config['type']} cannot be built: {reason}") from error


def check(role: str, config: Any, where: str, given: Collection[str] = ()) -> None:
    """Check a config that a file holds, and the configs in it, against the classes they name.

    Args:
        role: A key of :data:`ROLES`.
        config: ``type``, the name of a registered class, and its arguments.
        where: The file or key that holds the config, for messages.
        given: Names of arguments that are filled in later; they are not allowed here.

    Raises:
        ValueError: Naming the key, what was found and what is allowed.
    """
    if not isinstance(config, Mapping) or "type" not in config:
        raise ValueError(f"{where}.type: missing; it names a registered class")
    parameters = _check_config(ROLES[role], config, where, given)
    required = {name for name, one in parameters.items() if one.default is one.empty}
    if missing := sorted(required - config.keys()):
        raise ValueError(f"{where}.{missing[0]}: missing; {config['type']} needs it")


def _check_config(
    role: Role, config: Mapping[str, Any], where: str, given: Collection[str]
) -> dict[str, inspect.Parameter]:
    """Check a config with a ``type``; the parameters that it may give."""
    name, allowed = config["type"], role.classes()
    if not isinstance(name, str) or name not in allowed:
        raise ValueError(
            f"{where}.type: found {name!r:.100}, which is not registered as such a part; allowed "
            f"are {', '.join(allowed)}, and your own of `lh2face --import MODULE`"
        )
    return check_arguments(allowed[name], config, where, given)


def check_arguments(
    called: Callable[..., Any], config: Mapping[str, Any], where: str, given: Collection[str] = ()
) -> dict[str, inspect.Parameter]:
    """Check the arguments in a config by the names and types that a class or function declares.

    Args:
        called: The class or function.
        config: Arguments by name; ``type`` is passed over.
        where: The file or key that holds the config, for messages.
        given: Names of arguments that are filled in later; they are not allowed here.

    Returns:
        The parameters that the config may give.

    Raises:
        ValueError: Naming the key, what was found and what is allowed.
    """
    every = inspect.signature(called).parameters.values()
    parameters = {
        one.name: one
        for one in every
        if one.name not in given and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }
    takes_any = any(one.kind is one.VAR_KEYWORD for one in every)
    hints = _type_hints(called.__init__ if inspect.isclass(called) else called)
    for key, value in config.items():
        if key == "type":
            continue
        if key not in parameters and (key in given or not takes_any):
            # As Python writes it, so that the message stays one line, of a length to read.
            shown = repr(str(key))[1:-1]
            raise ValueError(
                f"{where}.{shown:.100}: unknown; {called.__name__} allows {sorted(parameters)}"
            )
        hint = hints.get(key, Any)
        if not _matches(value, hint):
            expected = hint.__name__ if isinstance(hint, type) else hint
            raise ValueError(f"{where}.{key}: expected {expected}, found {value!r:.100}")
        _check_inside(key, value, f"{where}.{key}", given)
    return parameters


def _check_inside(key: str, value: Any, where: str, given: Collection[str]) -> None:
    """Check every config at any depth of an argument's value."""
    if key == "_scope_":
        raise ValueError(f"{where}: not allowed, because mmengine imports what it names")
    if isinstance(value, Mapping) and "type" in value:
        if key not in ROLES:
            raise ValueError(f"{where}: found a config; in a file, only {sorted(ROLES)} are one")
        _check_config(ROLES[key], value, where, given)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _check_inside(name, item, f"{where}.{name}", given)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_inside(key, item, f"{where}.{number}", given)


def _type_hints(called: Callable[..., Any]) -> dict[str, Any]:
    """Types of the arguments; none where a user's own cannot be resolved."""
    try:
        return get_type_hints(called)
    except (AttributeError, NameError, TypeError):
        return {}


def _matches(value: Any, hint: Any) -> bool:
    """Whether a value of JSON or YAML is of a type: an int is a float too, a bool is neither."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_matches(value, one) for one in inner)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin is tuple and Ellipsis not in inner:
        return (
            isinstance(value, list | tuple)
            and len(value) == len(inner)
            and all(map(_matches, value, inner))
        )
    if hint is float:
        return (
            isinstance(value, int | float)
            and type(value) is not bool
            and abs(value) <= sys.float_info.max
        )
    if hint is int:
        return isinstance(value, int) and type(value) is not bool
    # The types of arguments that no file can hold, such as a Tensor, match nothing.
    plain = NoneType if hint is None else origin or hint
    return plain is Any or not isinstance(plain, type) or isinstance(value, plain)

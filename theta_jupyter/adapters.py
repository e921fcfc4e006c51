"""What was done to a model, said by a file: low-rank factors, IA3 vectors, an adapter of PEFT.

An update that is known need not be found. Names in the file say which tensor each is for:

- ``NAME/R`` and ``NAME/C``, whose product is added: Git-Theta's low-rank update (Kandpal et al., ICML 2023);
- ``NAME/ia3``, which rows, columns or all values are multiplied by: its IA3 update;
- ``MODULE.lora_A.weight``, ``MODULE.lora_B.weight`` and ``MODULE.ia3_l``, as PEFT saves them, with the scaling that
  ``adapter_config.json`` beside them gives (``lora_alpha / r``, or ``/ sqrt(r)`` for rslora).

A module's tensor is its ``weight``. A prefix that only one of the two files has, such as ``base_model.model.``, does
not matter where what is left is unique.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from theta_jupyter import changes, staging
from theta_jupyter.checkpoints import locate
from theta_jupyter.checkpoints.base import derive
from theta_jupyter.dtypes import DTYPES, nbytes
from theta_jupyter.errors import RequestError
from theta_jupyter.results import Message
from theta_jupyter.storage.arrays import FileCheckpoint
from theta_jupyter.storage.beside import replacing
from theta_jupyter.storage.contest import Said
from theta_jupyter.storage.mapped import mapped
from theta_jupyter.storage.snapshot import crcs_of
from theta_jupyter.storage.tensors import predict
from theta_jupyter.updates import low_rank, scale
from theta_jupyter.updates.base import Tensor
from theta_jupyter.updates.matrices import sides

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from theta_jupyter.checkpoints.base import Layout, View
    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.pool import Progress

    Array = npt.NDArray[Any]

__all__ = ["KINDS", "apply", "read", "stage"]

KINDS = ("low-rank", "ia3")
"""Updates that can be said."""

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_CONFIG = "adapter_config.json"
_FACTOR = re.compile(r"(?P<name>.+)[/.](?P<part>R|C|ia3)")
_PEFT = re.compile(
    r"(?P<name>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|ia3_l)(\.default)?(\.weight)?"
)


class _Part(NamedTuple):
    """Arrays for one tensor, by what each is."""

    name: str
    arrays: dict[str, Array]


def read(path: str | Path, kind: str, model: Path) -> dict[str, Said]:
    """Read what a file, or a folder of PEFT, says was done to the tensors of a model.

    Parameters
    ----------
    kind
        One of :data:`KINDS`, or empty for a folder of PEFT, which says so itself.

    Returns
    -------
    dict
        By name of the tensor.

    Raises
    ------
    RequestError
        If it says nothing, or of a tensor that the model has not, or that its values do not fit.
    """
    adapter = Path(path)
    config: dict[str, Any] = {}
    if adapter.is_dir():
        config = _config(adapter)
        weights = next((adapter / name for name in _WEIGHTS if (adapter / name).is_file()), None)
        if weights is None:
            raise RequestError(f"there is no {_WEIGHTS[0]} in {adapter}", hint="name the folder that PEFT has saved")
        adapter = weights
    elif not adapter.is_file():
        raise RequestError(f"there is no {adapter}", hint="--from names the file, or the folder, of the adapter")
    parts = _parts(adapter)
    said = {"low-rank" if "ia3" not in part.arrays and "ia3_l" not in part.arrays else "ia3" for part in parts}
    if not parts or (kind and said != {kind}):
        what = f"no {kind} update" if kind else "no update"
        raise RequestError(
            f"{adapter} says {what}: it has {_some(_names(adapter))}",
            hint="tensors are named NAME/R and NAME/C, or NAME/ia3, or as PEFT names them",
        )
    with mapped(model) as data:
        layout, reason = locate(data)
    if reason:
        raise RequestError(f"{model} is no checkpoint whose tensors are known: {reason}")
    views = {view.name: view for view in layout.views}
    found: dict[str, Said] = {}
    for part in parts:
        name = _target(part.name, views, model)
        found[name] = _said(part, views[name], config)
    return found


def apply(model: Path, said: Mapping[str, Said]) -> None:
    """Do to the tensors of a file what was said.

    Raises
    ------
    RequestError
        If a tensor does not lie by itself, in one piece.
    """
    with replacing(model) as temporary:
        shutil.copyfile(model, temporary)
        with mapped(model) as data, temporary.open("r+b") as out:
            layout, _ = locate(data)
            for view in layout.views:
                if view.name in said:
                    span = layout.storages[view.storage]
                    start = span.start + view.offset
                    size = nbytes(view.dtype, view.shape)
                    if view.stride is not None:
                        raise RequestError(f"tensor {view.name!r} of {model} is not stored in one piece")
                    base = Tensor(data[start : start + size], view.dtype, view.shape)
                    update, parameters = said[view.name]
                    out.seek(start)
                    out.write(predict(update, [base], memoryview(parameters), view.dtype, view.shape))
        _derive(temporary, layout)


def stage(
    worktree: Worktree, name: str, update: str, adapter: Path, progress: Progress, *, apply_first: bool
) -> Message:
    """Stage a model of which an adapter says what was done to it; tell how many of its tensors are stored so.

    Parameters
    ----------
    apply_first
        Whether it is yet to be done: the model in the work tree is the base.

    Raises
    ------
    RequestError
        If there is no such model, or the adapter is not of it. Nothing has changed then.
    """
    model = worktree.top / name
    if not model.is_file() or model.is_symlink():
        raise RequestError(f"there is no file {name}")
    said = read(adapter, update, model)
    if apply_first:
        apply(model, said)
    staging.stage(worktree, [name], "", progress, said)
    manifest = changes.manifests(worktree, changes.INDEX, [name])[name]
    took = [tensor for tensor, of in said.items() if manifest.owner(tensor).update == of.update]
    details = [f"{len(took)} of {len(said)} tensors are stored as {adapter.name} says"]
    if len(took) < len(said):
        other = next(tensor for tensor in said if tensor not in took)
        details.append(f"{other} is not: it is smaller as {manifest.owner(other).update}")
    made = f", made with {adapter.name}" if apply_first else ""
    return Message(f"staged {name}{made}", tuple(details))


def _derive(path: Path, layout: Layout) -> None:
    """Write anew what follows from the values of tensors, such as checksums."""
    if not layout.derived:
        return
    with mapped(path) as data:
        image = bytearray(data)
    crcs = crcs_of(layout, memoryview(image))
    with path.open("r+b") as out:
        for derived in layout.derived:
            image[derived.at.start : derived.at.stop] = derive(derived.rule, memoryview(image), derived.over, crcs)
            out.seek(derived.at.start)
            out.write(image[derived.at.start : derived.at.stop])


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"there is no {_CONFIG} in {folder} that can be read: {error}") from None
    if not isinstance(config, dict):
        raise RequestError(f"{folder / _CONFIG} is no table of settings")
    kind = str(config.get("peft_type", ""))
    if kind not in {"LORA", "IA3"} or config.get("use_dora"):
        what = "DORA" if config.get("use_dora") else kind or "unknown"
        raise RequestError(f"{folder} is an adapter of type {what}", hint="LORA and IA3 can be said; others are found")
    return config


def _parts(path: Path) -> list[_Part]:
    """What a file has for each tensor."""
    found: dict[str, dict[str, Array]] = {}
    with mapped(path) as data:
        checkpoint = FileCheckpoint(str(path), path, data)
    for key in checkpoint:
        # A name that could be taken for a path stands in quotes.
        plain = json.loads(key) if key.startswith('"') else key
        match = _PEFT.fullmatch(plain) or _FACTOR.fullmatch(plain)
        if match:
            found.setdefault(match["name"], {})[match["part"]] = checkpoint[key].astype(np.float64)
    return [_Part(name, arrays) for name, arrays in found.items()]


def _names(path: Path) -> list[str]:
    with mapped(path) as data:
        return [view.name for view in locate(data)[0].views]


def _target(name: str, views: Mapping[str, View], model: Path) -> str:
    """The tensor of the model that a name in the adapter stands for."""
    for prefix in ("", "base_model.model.", "base_model.model.model."):
        plain = name.removeprefix(prefix)
        for wanted in (plain, f"{plain}.weight", f"{plain}/weight"):
            if wanted in views:
                return wanted
    ends = [name.removeprefix("base_model.model."), *(name.split(".", count)[-1] for count in (1, 2, 3))]
    for end in ends:
        near = [other for other in views if other.endswith((f".{end}.weight", f".{end}")) or other == f"{end}.weight"]
        if len(near) == 1:
            return near[0]
    raise RequestError(
        f"{model} has no tensor for {name!r} of the adapter", hint=f"it has {_some(views)}: is it the adapter's model?"
    )


def _said(part: _Part, view: View, config: Mapping[str, Any]) -> Said:
    """An update of one tensor, written down."""
    arrays = part.arrays
    rows, columns = sides(view.shape)
    kind = DTYPES[view.dtype]
    if not kind.is_float or kind.words == 2 or kind.bits < 8:
        raise RequestError(f"tensor {view.name!r} has no real values (it is {view.dtype})")
    vector = arrays.get("ia3", arrays.get("ia3_l"))
    if vector is not None:
        axis = _axis(vector, rows, columns, transposed=bool(config.get("fan_in_fan_out")))
        if axis is None:
            raise RequestError(f"{part.name!r} has {vector.size} factors for tensor {view.name!r} of {view.shape}")
        return Said("scale", scale.parameters_of(axis, vector.reshape(-1)))
    left, right = _factors(part, config)
    if left.shape[0] != rows and (right.shape[1], left.shape[0]) == (rows, columns):
        left, right = right.T, left.T
    if (left.shape[0], right.shape[1]) != (rows, columns):
        raise RequestError(
            f"factors of {part.name!r} are of {left.shape} and {right.shape}, tensor {view.name!r} of {view.shape}"
        )
    parameters = low_rank.parameters_of(left, right, view.dtype)
    if parameters is None:
        raise RequestError(
            f"factors of {part.name!r} are not finite, or of a rank above {low_rank.MAX_RANK}",
            hint="add the model without --update",
        )
    return Said("low_rank", parameters)


def _factors(part: _Part, config: Mapping[str, Any]) -> tuple[Array, Array]:
    """The two factors of the change, the scaling within the left one."""
    arrays = part.arrays
    for before, after in (("R", "C"), ("lora_B", "lora_A"), ("lora_embedding_B", "lora_embedding_A")):
        if before in arrays or after in arrays:
            if not (before in arrays and after in arrays):
                raise RequestError(f"{part.name!r} has {'/'.join(arrays)} alone: both factors are needed")
            left, right = (array.reshape(array.shape[0], -1) for array in (arrays[before], arrays[after]))
            if left.shape[1] != right.shape[0]:
                raise RequestError(f"factors of {part.name!r} do not fit each other: {left.shape}, {right.shape}")
            if before == "R":
                return left, right
            return left * _scaling(part.name, left.shape[1], config), right
    raise RequestError(f"{part.name!r} has no factors")


def _scaling(name: str, rank: int, config: Mapping[str, Any]) -> float:
    """What PEFT multiplies the product with."""
    alpha = _pattern(config.get("alpha_pattern"), name, config.get("lora_alpha", rank))
    scaling = float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
    if not math.isfinite(scaling):
        raise RequestError(f"{name!r} is scaled by {scaling}")
    return scaling


def _pattern(patterns: Any, name: str, otherwise: Any) -> Any:
    """The value of the first pattern that fits the end of a name, as PEFT takes them."""
    for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
        if re.fullmatch(rf"(.*\.)?({re.escape(pattern)})", name):
            return value
    return otherwise


def _axis(vector: Array, rows: int, columns: int, *, transposed: bool) -> int | None:
    """What a vector multiplies: rows (0), columns (1), all (2)."""
    if vector.size == 1:
        return 2
    upright = vector.ndim == 2 and vector.shape[1] == 1
    first, second = (0, 1) if upright != transposed else (1, 0)
    return next((axis for axis in (first, second) if vector.size == (rows, columns)[axis]), None)


def _some(names: Iterable[str] | Sequence[str]) -> str:
    listed = list(names)
    return ", ".join(map(repr, listed[:3])) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")

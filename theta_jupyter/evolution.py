"""How tensors changed over all versions of a file: their norms, and the size of every step.

All of it stands in the manifests, so no weight is read or fetched, however many versions there are. The price is that a
step is estimated, and that of a tensor without a sketch (fewer than 4,096 values) only its norm is known.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from theta_jupyter.changes import is_called
from theta_jupyter.diffs.compare import compare, overall
from theta_jupyter.diffs.miniature import LEGEND, glyph
from theta_jupyter.dtypes import nbytes
from theta_jupyter.errors import RequestError
from theta_jupyter.history import headings, pairs, touched
from theta_jupyter.results import Result, Table, for_notebook, plain, relative_text, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import plotly.graph_objects as go
    from matplotlib.figure import Figure

    from theta_jupyter.diffs.compare import Status, TensorDiff
    from theta_jupyter.diffs.curves import Curve
    from theta_jupyter.diffs.miniature import Value
    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.manifest import Manifest

__all__ = ["History", "Step", "Version", "evolution"]

WHOLE = ""
"""Stands for the file as a whole, where the name of a tensor could."""
TOP = 12
"""Tensors listed and drawn; the rest is counted."""
_SPARKS = 48
"""Versions in a sparkline, the last ones."""
_LINE = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Step:
    """One tensor, or the file as a whole, in one version, and how it came to it.

    Parameters
    ----------
    tensor
        Its name; of one that was renamed, that which was asked for. Empty for the file as a whole.
    status
        As in a diff: empty, A, M, D, R, S or T.
    norm
        L2 norm of the values that are finite; None if it is gone, or not known.
    l2, relative
        L2 norm of the change, and that over the norm before; None where it is not known or makes no sense.
    estimated
        Whether they come from sketches.
    old_name
        What it was called before, where it was renamed.
    """

    tensor: str
    status: Status
    norm: float | None = None
    l2: float | None = None
    relative: float | None = None
    estimated: bool = False
    old_name: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the file.

    Parameters
    ----------
    commit, subject, date
        Of the commit that made it; the date is when it was written, ISO 8601.
    steps
        A tensor that is in neither this version nor the one before has none.
    """

    commit: str
    subject: str
    date: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class History(Result):
    """How tensors of a file changed over its versions.

    Parameters
    ----------
    path
        The file, from the top of the repository.
    tensors
        Names of those that were asked for, the most changed first; one empty name stands for the file as a whole.
    versions
        The newest last.
    more
        Whether there are older ones.
    """

    path: str
    tensors: tuple[str, ...]
    versions: tuple[Version, ...]
    more: bool = False

    def headline(self) -> str:
        """What it is the history of."""
        count = f"{len(self.versions)} version{'s' * (len(self.versions) != 1)}"
        if len(self.tensors) != 1:
            return f"{len(self.tensors)} tensors of {self.path}   {count}"
        (name,) = self.tensors
        return f"{f'{short(name, 80)} in ' if name else ''}{self.path}   {count}"

    def table(self) -> Table:
        """A line a version; of several tensors, a line a tensor."""
        if len(self.tensors) != 1:
            return self._tensors()
        rows = []
        for version, step in zip(self.versions, self._line(self.tensors[0]), strict=True):
            known = step is not None and step.status not in {"A", "D", "S"}
            rows.append(
                (
                    step.status if step else "",
                    version.commit[:7],
                    version.date[:16].replace("T", " "),
                    version.subject,
                    _number(step.norm) if step else "",
                    _number(step.l2, estimated=step.estimated) if step and known else "",
                    relative_text(step.relative, estimated=step.estimated) if step and known else "",
                )
            )
        return Table(("", "commit", "date", "subject", ">norm", ">change", ">relative"), tuple(rows))

    def notes(self) -> tuple[str, ...]:
        """What is left out, and what the signs mean."""
        steps = [step for version in self.versions for step in version.steps]
        notes = []
        if len(self.tensors) > TOP:
            notes.append(f"the {TOP} most changed; {len(self.tensors) - TOP} more are in to_pandas() and --json")
        notes += [f"{step.tensor} was called {step.old_name}" for step in steps if step.old_name and step.tensor]
        if len(self.tensors) > 1:
            notes.append(f"change: {LEGEND}")
        if any(step.estimated for step in steps):
            notes.append("~ is estimated from the manifests, without reading a weight")
        if any(step.status in {"M", "T"} and step.relative is None for step in steps):
            notes.append("? has no sketch in its manifest, being small: git theta diff OLD NEW reads it")
        return (*notes, *(["and older versions: -n 500"] if self.more else []))

    def figure(self) -> go.Figure:
        """Norms and relative changes over versions, as a plotly figure."""
        from theta_jupyter.diffs.curves import curves
        from theta_jupyter.diffs.figures import to_plotly

        words = [f"{v.commit[:7]} {v.date[:16].replace('T', ' ')} {v.subject}" for v in self.versions]
        return to_plotly(
            curves(self._curves(), [version.commit[:7] for version in self.versions], words), self._title()
        )

    def plot(self) -> Figure:
        """The same as a matplotlib figure."""
        return self._drawn(self._title())

    def text(self) -> str:
        """Everything; of one tensor, with a line for its norm and one for its changes."""
        if len(self.tensors) != 1:
            return super().text()
        (name,) = self.tensors
        head, _, rest = super().text().partition("\n")
        norm = _sparks([step.norm if step else None for step in self._line(name)])
        lines = [head, f"  norm    {norm}", f"  change  {self._changes(name)}", rest, f"change: {LEGEND}"]
        return "\n".join(line.rstrip() for line in lines)

    def html(self) -> str:
        """Everything, with the picture."""
        from theta_jupyter.diffs.plots import image

        alt = f"Norm and relative change over the versions of {plain(self.path)}"
        notes = (html.escape(for_notebook(plain(note))) for note in self.notes())
        return "".join(
            [
                f'<div style="margin:4px 0"><strong>{html.escape(plain(self.headline()))}</strong></div>',
                f"<div>{image(self._drawn(''), alt)}</div>",
                self.table().html(),
                *(f'<div style="opacity:0.8">{note}</div>' for note in notes),
            ]
        )

    def _records(self) -> tuple[Any, ...]:
        return tuple(
            {"commit": version.commit, "subject": version.subject, "date": version.date, **msgspec.to_builtins(step)}
            for version in self.versions
            for step in version.steps
        )

    def _tensors(self) -> Table:
        rows = []
        for name in self.tensors[:TOP]:
            line = self._line(name)
            norms = [step.norm for step in line if step and step.norm is not None]
            most = max(
                ((step, version) for step, version in zip(line, self.versions, strict=True) if step and step.relative),
                key=lambda pair: pair[0].relative or 0.0,
                default=None,
            )
            rows.append(
                (
                    short(name, 80),
                    self._changes(name),
                    _number(norms[-1]) if norms else "",
                    relative_text(most[0].relative, estimated=most[0].estimated) if most else "",
                    f"{most[1].commit[:7]} {short(most[1].subject, 40)}" if most else "",
                )
            )
        return Table(("tensor", "change", ">norm", ">largest step", "in"), tuple(rows))

    def _line(self, name: str) -> list[Step | None]:
        """The steps of a tensor, or of the file, one for each version; None where it was not there."""
        return [next((step for step in version.steps if step.tensor == name), None) for version in self.versions]

    def _changes(self, name: str) -> str:
        """A character a version; nothing where the tensor was not there."""
        return _cut("".join(" " if step is None else glyph(_value(step)) for step in self._line(name)))

    def _curves(self) -> list[Curve]:
        from theta_jupyter.diffs.curves import Curve

        return [
            Curve(
                name or self.path,
                tuple(step.norm if step else None for step in self._line(name)),
                tuple(step.relative if step else None for step in self._line(name)),
            )
            for name in self.tensors[:TOP]
        ]

    def _drawn(self, title: str) -> Figure:
        from theta_jupyter.diffs.curves import draw

        return draw(self._curves(), [version.commit[:7] for version in self.versions], title)

    def _title(self) -> str:
        if len(self.tensors) > TOP:
            return f"{self.path}: the {TOP} most changed of {len(self.tensors)} tensors"
        return f"{self.tensors[0]} in {self.path}" if len(self.tensors) == 1 and self.tensors[0] else self.path


def evolution(worktree: Worktree, path: str, wanted: Sequence[str], ref: str, limit: int) -> History:
    """Read the history of a file; see :meth:`theta_jupyter.api.Repository.history`.

    Raises
    ------
    RequestError
        If the path was never a tracked model there, or no tensor had such a name.
    """
    options = ["--topo-order", f"--max-count={limit + 1}", worktree.resolve(ref)]
    ids = worktree.git("rev-list", *options, "--", path).decode().split()
    touching = touched(worktree, ids[:limit], [path])
    found = [(name, change) for name, changes in touching.items() for change in changes if change.path == path]
    steps: list[tuple[Step, ...]] = []
    manifests = 0
    # What one tensor is called, going back from the newest version.
    now = wanted[0] if len(wanted) == 1 else None
    for old, new in pairs(worktree, [change for _, change in found]):
        manifests += bool(old or new)
        steps.append(_steps(old, new, wanted, now))
        if now is not None:
            now = next((step.old_name for step in steps[-1] if step.tensor == wanted[0] and step.old_name), now)
    if not manifests:
        raise RequestError(f"{path} is not a tracked model in any version", hint="see: git theta ls-files")
    names = _ranked(step for of in steps for step in of)
    unmatched = [glob for glob in wanted if not any(is_called(name, [glob]) for name in names)]
    if unmatched:
        hint = "patterns are such as 'encoder.*.weight'"
        raise RequestError(f"no tensor is called {unmatched[0]!r} in any version", hint=hint)
    heads = headings(worktree, [name for name, _ in found])
    versions = [Version(head.id, head.subject, head.date, of) for head, of in zip(heads, steps, strict=True)]
    return History(path, names, tuple(reversed(versions)), len(ids) > limit)


def _steps(old: Manifest | None, new: Manifest | None, wanted: Sequence[str], now: str | None) -> tuple[Step, ...]:
    """The steps from one version to the next; ``now`` is what the one tensor that is followed is called in the new."""
    if not (old or new):
        return ()
    diffs = compare(old, new)
    if not wanted:
        return (_whole(old, new, diffs),)
    found = []
    for diff in diffs:
        followed = diff.name == now
        # A tensor that once had the name, and was another, is not meant.
        if followed or (is_called(diff.name, wanted) and (now is None or diff.name != wanted[0])):
            norm = _norm(new, diff.name) if new and diff.status != "D" else None
            known = diff.l2, diff.relative, diff.estimated, diff.old_name
            found.append(Step(wanted[0] if followed else diff.name, diff.status, norm, *known))
    return tuple(found)


def _whole(old: Manifest | None, new: Manifest | None, diffs: Sequence[TensorDiff]) -> Step:
    """The step of a file, all its tensors taken as one vector."""
    status: Status = "M" if old and new else "A" if new else "D"
    # A file that is kept whole has no tensors that anyone knows of.
    storages = [record for record in new.records.values() if not record.of] if new and not new.opaque else []
    norms = [0.0 if not record.nbytes else record.norm for record in storages]
    known = [norm for norm in norms if norm is not None]
    norm = math.hypot(*known) if known and len(known) == len(norms) else None
    if not (old and new) or old.opaque or new.opaque:
        return Step(WHOLE, status, norm)
    comparable = [diff for diff in diffs if diff.status not in {"A", "D", "S"}]
    relative, estimated = overall(comparable)
    l2 = math.hypot(*(diff.l2 for diff in comparable if diff.l2 is not None)) if relative is not None else None
    return Step(WHOLE, status, norm, l2, relative, estimated)


def _norm(manifest: Manifest, name: str) -> float | None:
    """The norm of a tensor, known if it is all of its storage."""
    record, owner = manifest.records[name], manifest.owner(name)
    return owner.norm if nbytes(record.dtype, record.shape) == owner.nbytes else None


def _ranked(steps: Iterable[Step]) -> tuple[str, ...]:
    """Names, the most changed first."""
    most: dict[str, float] = {}
    for step in steps:
        most[step.tensor] = max(most.get(step.tensor, 0.0), step.relative or 0.0)
    return tuple(sorted(most, key=lambda name: (-most[name], name)))


def _value(step: Step) -> Value:
    """A step as a miniature shows it."""
    sign = {"A": "+", "D": "-", "S": "±"}.get(step.status)
    return sign or (step.relative if step.status else 0.0)


def _number(value: float | None, *, estimated: bool = False) -> str:
    return "?" if value is None else f"{'~' if estimated else ''}{value:.4g}"


def _sparks(values: Sequence[float | None]) -> str:
    """Values as a line of bars, from the smallest to the largest."""
    known = [value for value in values if value is not None]
    low, spread = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    last = len(_LINE) - 1
    signs = (
        " " if value is None else _LINE[round(last * (value - low) / spread) if spread else last // 2]
        for value in values
    )
    return _cut("".join(signs))


def _cut(sparks: str) -> str:
    return sparks if len(sparks) <= _SPARKS else f"…{sparks[-_SPARKS:]}"

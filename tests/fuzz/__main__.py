"""``python -m tests.fuzz TARGET [--seconds N]``: fuzz one parser, led by coverage, from the corpus that is kept.

What reaches new code is added to the corpus, which is then made as small as it can be. An input that breaks the parser
is kept in ``build/fuzz``: mend the parser, and move it into the corpus, where a test tries it for ever.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

__all__ = ["CORPUS"]

CORPUS = Path(__file__).parent / "corpus"
LARGEST = 1 << 14
"""Bytes of an input."""
SLICE = 60
"""Seconds after which the fuzzer begins anew, with what it has found: tracing comparisons of NumPy's numbers takes it
gigabytes in the end."""


def main() -> None:
    """Fuzz, then keep what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args()
    if given.inside:
        _fuzz(given.target, rest)
        return
    # Here, because inside they are imported by whoever measures coverage.
    from tests.fuzz.targets import TARGETS

    corpus, place = CORPUS / given.target, _place(given.target)
    work, fresh = place / "work", place / "fresh"
    for folder in (corpus, work, fresh):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[given.target].seeds()):
        if len(seed) <= LARGEST:
            (work / f"seed-{number}").write_bytes(seed)
    # The fuzzer starts itself once more to make the corpus small, by the name it was started by.
    runner = place / "run"
    runner.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tests.fuzz {given.target} --inside "$@"\n')
    runner.chmod(0o755)
    limits = [
        f"-max_len={LARGEST}",
        "-rss_limit_mb=4096",
        "-malloc_limit_mb=512",
        "-timeout=10",
        f"-artifact_prefix={place}/",
    ]
    status = 0
    for start in range(0, given.seconds, SLICE):
        run = [f"-max_total_time={min(SLICE, given.seconds - start)}", "-print_final_stats=1"]
        status = subprocess.run([runner, *limits, *run, work, corpus], check=False).returncode
        if status:
            break
    subprocess.run([runner, *limits, "-merge=1", fresh, corpus, work], check=False, capture_output=True)
    small = {path.name: path.read_bytes() for path in fresh.iterdir()}
    if small:
        for path in corpus.iterdir():
            path.unlink()
        for name, data in small.items():
            (corpus / name).write_bytes(data)
    sys.exit(status)


def _place(name: str) -> Path:
    return Path("build/fuzz", name).absolute()


def _fuzz(name: str, rest: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["theta_jupyter", "zipfile", "pickletools"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([str(_place(name) / "run"), *rest], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

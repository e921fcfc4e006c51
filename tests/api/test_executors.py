"""Diff, merge and fsck where somebody else's executor works: processes here, and a cluster's."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.e2e.repo import MODEL
from theta_jupyter import Repository
from theta_jupyter.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from tests.e2e.repo import Repo


class Counting(Executor):
    """Another executor, and how much was asked of it."""

    def __init__(self, of: Executor) -> None:
        self.of, self.count = of, 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.count += 1
        return self.of.submit(fn, *args, **kwargs)


@pytest.fixture(params=["threads", "processes", "dask"])
def executor(request: pytest.FixtureRequest) -> Iterator[Counting]:
    if request.param == "threads":
        with ThreadPoolExecutor(2) as threads:
            yield Counting(threads)
    elif request.param == "processes":
        with ProcessPoolExecutor(2, multiprocessing.get_context("forkserver")) as processes:
            yield Counting(processes)
    else:
        from distributed import Client, LocalCluster

        with (
            LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield Counting(client.get_executor())


def model(**seeds: int) -> dict[str, npt.NDArray[np.float32]]:
    """Three tensors of which there are sketches, so that they are read only if somebody asks for exact figures."""
    return {
        name: np.random.default_rng([len(name), ord(name[0]), seeds.get(name, 0)])
        .standard_normal((160, 128))
        .astype(np.float32)
        for name in ("one", "two", "three")
    }


@pytest.fixture
def sides(repo: Repo) -> Repo:
    """``main`` and ``side`` changed the same three tensors."""
    repository = Repository()
    for branch, seed in (("main", 0), ("side", 1), ("main", 2)):
        if branch == "side":
            repository.switch("side", create=True)
        elif seed:
            repository.switch("main")
        save_file(model(one=seed, two=seed, three=seed), MODEL)
        repository.commit(f"seed {seed}")
    return repo


def test_the_same_as_in_threads(sides: Repo, executor: Counting) -> None:
    """Every figure and every byte."""
    here, there = Repository(), Repository(executor=executor)
    expected = here.diff("main", "side", exact=True).to_dict()
    assert there.diff("main", "side", exact=True).to_dict() == expected
    assert executor.count == 3
    executor.count = 0
    assert there.fsck().to_dict() == here.fsck().to_dict()
    assert executor.count > len(sides.objects)
    executor.count = 0
    here.merge("side", strategy="linear")
    merged, objects = sides.read(), sides.objects
    sides.git("reset", "--quiet", "--hard", "HEAD~1")
    there.merge("side", strategy="linear")
    assert executor.count == 3
    assert sides.read() == merged
    assert sides.objects == objects
    sides.check(merged)


def test_what_is_wrong_is_told_from_there(sides: Repo, executor: Counting) -> None:
    [place] = sides.manifest().records["two"].objects
    path = sides.worktree.store.path(place.object)
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)
    found = Repository(executor=executor).fsck()
    assert [loss.tensors for loss in found.losses] == [("two",)]
    assert [fault.problem for fault in found.faults] == ["damaged"]
    assert found.to_dict() == Repository().fsck().to_dict()
    sides.git("switch", "--quiet", "--discard-changes", "side")
    with pytest.raises(IntegrityError, match="two"):
        Repository(executor=executor).diff("main", "side", exact=True)


def test_a_model_in_memory_stays_here(sides: Repo, executor: Counting) -> None:
    found = Repository(executor=executor).diff("HEAD", model=model(one=5, two=2, three=6), exact=True)
    assert [tensor.name for tensor in found.files[0].tensors if tensor.status] == ["one", "three"]
    assert executor.count == 0
    sides.check()

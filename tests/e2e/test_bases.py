"""What a tensor may rest on: what it was, what it was called, its like in another tracked file, and nothing private."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save

from tests.e2e.repo import MODEL, safetensors, weights
from tests.storage.samples import moved

if TYPE_CHECKING:
    from tests.e2e.repo import Repo

OTHER = "other.safetensors"


def stored(repo: Repo, name: str, path: str = MODEL) -> tuple[str, float]:
    """The update of a tensor in HEAD, and its share of the raw size."""
    record = repo.manifest(f"HEAD:{path}").records[name]
    return record.update, record.nodes[-1].place.stored / record.nbytes


def test_a_tensor_that_was_renamed_and_trained_rests_on_what_it_was(repo: Repo) -> None:
    changed = weights()
    repo.commit(save(changed | {"renamed": moved(changed.pop("wide"))}), "renamed")
    update, share = stored(repo, "renamed")
    assert update == "delta"
    assert share < 0.5


def test_a_second_file_rests_on_the_first(repo: Repo) -> None:
    """A family: its tensors are as in another tracked file, or near, or of another type."""
    repo.track(OTHER)
    half = {name: value.astype(np.float16) for name, value in weights().items()}
    repo.commit(save(weights() | {"wide": moved(weights()["wide"])}), "tuned", OTHER)
    assert stored(repo, "wide", OTHER)[0] == "delta"
    assert stored(repo, "wide", OTHER)[1] < 0.5
    repo.commit(safetensors(), "same", OTHER)
    assert repo.manifest(f"HEAD:{OTHER}").records["wide"].nodes == repo.manifest().records["wide"].nodes
    repo.track("half.safetensors")
    repo.commit(save(half), "half", "half.safetensors")
    # Its base weighs more than is allowed for so small a tensor: whole, until a law says otherwise.
    assert stored(repo, "wide", "half.safetensors")[0] == "whole"
    repo.track("wide.safetensors")
    repo.commit(save({name: value.astype(np.float64) for name, value in half.items()}), "wide", "wide.safetensors")
    assert stored(repo, "wide", "wide.safetensors") <= ("cast", 0.01)


def test_a_file_that_is_not_tracked_any_more_is_no_base(repo: Repo) -> None:
    repo.git("rm", "--quiet", MODEL)
    repo.track(OTHER)
    repo.git("commit", "--quiet", "--message", "gone")
    repo.commit(save(weights() | {"wide": moved(weights()["wide"])}), "tuned", OTHER)
    assert stored(repo, "wide", OTHER)[0] == "whole"


def test_another_branch_is_no_base(repo: Repo) -> None:
    """Or pushing this one would push that one's weights, too."""
    repo.git("switch", "--quiet", "--create", "private")
    secret = weights(7)
    repo.commit(save(secret), "secret")
    repo.git("switch", "--quiet", "main")
    repo.commit(save(secret | {"wide": moved(secret["wide"])}), "public")
    assert stored(repo, "wide")[0] == "whole"
    private = {place.object for place in repo.manifest(f"private:{MODEL}").records["wide"].objects}
    assert private.isdisjoint(repo.manifest().places())


def test_a_merge_made_by_hand_rests_on_both(repo: Repo) -> None:
    """While it lasts, what is merged in is a base."""
    base = weights()
    repo.git("switch", "--quiet", "--create", "theirs")
    theirs = base | {"wide": moved(base["wide"])}
    repo.commit(save(theirs), "theirs")
    repo.git("switch", "--quiet", "main")
    ours = base | {"wide": base["wide"] * (1 + 1e-6 * np.random.default_rng(3).random((160, 128))).astype("f4")}
    repo.commit(save(ours), "ours")
    repo.git("merge", "--no-commit", "--strategy=ours", "theirs")
    repo.commit(save(base | {"wide": (ours["wide"] + theirs["wide"]) / 2}), "average")
    assert stored(repo, "wide") <= ("combine", 0.01)

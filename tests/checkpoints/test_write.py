"""New files of what lives in memory: written, located, and read again as it was, by us and by others."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import load_file

from tests.checkpoints.roundtrip import tensors as located
from tests.checkpoints.test_torch import DTYPES, read
from theta_jupyter import checkpoints
from theta_jupyter.checkpoints import writer
from theta_jupyter.checkpoints.leaves import as_numpy, memory
from theta_jupyter.dtypes import to_array
from theta_jupyter.errors import RequestError
from theta_jupyter.states import tensors

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

SHAPES = st.sampled_from([(), (1,), (0,), (5,), (2, 3), (3, 0, 2), (2, 1, 4)])
NAMES = st.one_of(
    st.sampled_from(["weight", "a.b", "a/b", "0", "file", "allow_pickle", "arr_0", "é", "x.npy", "(0)", '"', "", " "]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)


def file(state: Any, folder: Path, suffix: str) -> Path:
    """Write a file."""
    path = folder / f"m{suffix}"
    path.write_bytes(b"")
    writer(path).write(state, path)
    return path


@st.composite
def arrays(draw: DrawFn, kinds: str = "?bBhHiIlLqQefdFD") -> Any:
    """Arrays of any numbers NumPy has, either way round in memory and in bytes, any bits in them."""
    dtype = np.dtype(draw(st.sampled_from(kinds))).newbyteorder(draw(st.sampled_from("<>")))
    array = draw(hnp.arrays(dtype, draw(SHAPES)))
    return draw(st.sampled_from([array, np.asfortranarray(array), array.T, array[..., ::-1] if array.ndim else array]))


@st.composite
def torch_tensors(draw: DrawFn) -> Any:
    """Tensors of any type torch has, laid out in memory in any way, any bits in them."""
    dtype, shape = draw(st.sampled_from(list(DTYPES))), draw(SHAPES)
    size = torch.empty((), dtype=dtype).element_size()
    count = int(np.prod(shape, dtype=int))
    raw = draw(st.binary(min_size=count * size, max_size=count * size))
    if dtype is torch.bool:
        raw = bytes(byte & 1 for byte in raw)
    whole = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(dtype) if raw else torch.empty(0, dtype=dtype)
    tensor = whole.reshape(shape)
    if dtype is torch.float8_e5m2:
        return tensor  # NumPy cannot walk its type in steps.
    return draw(st.sampled_from([tensor, tensor.T if tensor.ndim == 2 else tensor, tensor.expand(2, *shape)]))


def value(array: Any) -> tuple[str, tuple[int, ...], bytes]:
    """An array as what :func:`located` reads: its type, shape and bytes in C order."""
    little = np.asarray(array).astype(array.dtype.newbyteorder("<"))
    return little.dtype.name, little.shape, little.tobytes()


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(NAMES, arrays(), min_size=1, max_size=4))
def test_arrays_in_npz(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    path = file(state, tmp_path_factory.mktemp("npz"), ".npz")
    found = located(path.read_bytes(), "numpy")
    assert found.keys() == tensors(state).keys()
    for name, array in zip(found, state.values(), strict=True):
        kind, shape, data = found[name]
        assert value(to_array(data, kind, shape)) == value(array)
    with np.load(path) as loaded:
        for name, array in state.items():
            # NumPy takes either for the name; with x and x.npy it has no way to tell.
            if f"{name}.npy" not in state and not name.endswith(".npy"):
                assert value(loaded[name]) == value(array)


@settings(deadline=None, max_examples=100)
@given(st.one_of(arrays(), torch_tensors()))
def test_one_array_in_npy(tmp_path_factory: pytest.TempPathFactory, leaf: Any) -> None:
    folder = tmp_path_factory.mktemp("npy")
    if isinstance(leaf, torch.Tensor) and as_numpy(leaf, "x").dtype.isbuiltin == 2:
        with pytest.raises(RequestError, match="NumPy files have no type for tensor 'array'"):
            file(leaf, folder, ".npy")
        return
    path = file(leaf, folder, ".npy")
    [(kind, shape, data)] = located(path.read_bytes(), "numpy").values()
    assert value(to_array(data, kind, shape)) == value(as_numpy(leaf, "x")) == value(np.load(path))


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(NAMES, arrays("?bBhHiIlLqQefdF"), min_size=1, max_size=4))
def test_arrays_in_safetensors(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    path = file(state, tmp_path_factory.mktemp("st"), ".safetensors")
    found = located(path.read_bytes(), "safetensors")
    live = tensors(state)
    assert found.keys() == live.keys()
    for name, (kind, shape, data) in found.items():
        assert value(to_array(data, kind, shape)) == value(live[name])


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(NAMES, torch_tensors(), min_size=1, max_size=4))
def test_tensors_in_safetensors(tmp_path_factory: pytest.TempPathFactory, state: dict[str, torch.Tensor]) -> None:
    folder = tmp_path_factory.mktemp("st")
    if any(leaf.dtype == torch.complex128 for leaf in state.values()):
        with pytest.raises(RequestError, match=r"safetensors cannot hold tensor .* complex128"):
            file(state, folder, ".safetensors")
        return
    path = file(state, folder, ".safetensors")
    found = located(path.read_bytes(), "safetensors")
    live = tensors(state)
    assert found == {name: read(live[name]) for name in live}
    assert load_file(path).keys() == state.keys()
    with safetensors.safe_open(path, "pt") as opened:
        assert opened.metadata() == {"format": "pt"}


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(NAMES, torch_tensors(), min_size=1, max_size=4), st.sampled_from([".pt", ".pth", ".ckpt", ".bin"])
)
def test_tensors_in_torch(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any], suffix: str) -> None:
    tree = {"model": state, "list": [state, {"step": 3}]}
    path = file(tree, tmp_path_factory.mktemp("pt"), suffix)
    found = located(path.read_bytes(), "torch")
    assert found == {name: read(leaf) for name, leaf in tensors(tree).items()}
    again = torch.load(path, weights_only=True)
    assert again["list"][1] == {"step": 3}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz"])
def test_the_same_state_is_the_same_file(tmp_path: Path, suffix: str) -> None:
    """Whatever the path, and in another process: or a commit would store what did not change."""
    code = (
        "import sys, torch, pathlib; from theta_jupyter.checkpoints import writer\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "writer(path).write({f'layer.{i}': torch.full((i,), i / 7) for i in range(20)}, path)"
    )
    for name in ("one", "another"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / (name + suffix))], check=True, timeout=60)
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"another{suffix}").read_bytes()


def test_tied_weights_are_kept_once_under_the_first_name(tmp_path: Path) -> None:
    big = torch.randn(4, 6)
    state = {"embed": big, "other": big.clone(), "head": big, "row": big[0], "turned": big.T, "part": big[:2]}
    found = located(file(state, tmp_path, ".safetensors").read_bytes(), "safetensors")
    # What lies in the same memory and is not the same tensor is written whole.
    assert found == {name: read(leaf) for name, leaf in state.items() if name != "head"}
    empty = {"a": torch.empty(0), "b": torch.empty(0)}
    assert located(file(empty, tmp_path, ".safetensors").read_bytes(), "safetensors").keys() == {"a", "b"}
    # Arrays of NumPy are never tied.
    one = np.ones(3)
    assert memory(one) is None
    assert located(file({"a": one, "b": one}, tmp_path, ".safetensors").read_bytes(), "safetensors").keys() == {
        "a",
        "b",
    }


def test_parameters_views_and_conjugates(tmp_path: Path) -> None:
    z = torch.randn(3, dtype=torch.complex64)
    state = {"p": torch.nn.Parameter(torch.randn(2, 2)), "conj": z.conj(), "neg": z.conj().imag}
    for suffix, form in ((".safetensors", "safetensors"), (".npz", "numpy")):
        found = located(file(state, tmp_path, suffix).read_bytes(), form)
        assert found == {name: read(leaf.resolve_conj().resolve_neg()) for name, leaf in state.items()}


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2fnuz", "float8_e8m0fnu"])
def test_types_of_ml_dtypes(tmp_path: Path, dtype: str) -> None:
    state = {"x": np.arange(1, 7).reshape(2, 3).astype(getattr(ml_dtypes, dtype)).T}
    [(kind, shape, data)] = located(file(state, tmp_path, ".safetensors").read_bytes(), "safetensors").values()
    assert to_array(data, kind, shape).dtype == state["x"].dtype
    assert data == state["x"].tobytes()
    with pytest.raises(RequestError, match=f"NumPy files have no type for tensor 'x' \\({dtype}\\)"):
        file(state, tmp_path, ".npz")


@pytest.mark.parametrize(
    ("suffix", "state", "fault"),
    [
        (".safetensors", {"model": {"w": torch.ones(1)}}, "and 'model' is a dict"),
        (".safetensors", {"w": torch.ones(1), "step": 3}, "and 'step' is a int"),
        (".safetensors", {0: torch.ones(1)}, "0 is not text"),
        (".safetensors", [torch.ones(1)], "this is a list"),
        (".safetensors", torch.ones(1), "this is a Tensor"),
        (".safetensors", {"s": torch.eye(2).to_sparse()}, "torch.sparse_coo"),
        (".safetensors", {"m": torch.ones(2, device="meta")}, "meta"),
        (".safetensors", {"__metadata__": torch.ones(1)}, "such a name"),
        (".safetensors", {"f6": np.ones(8, ml_dtypes.float6_e2m3fn)}, "of type float6_e2m3fn"),
        (".npz", {"model": {"w": torch.ones(1)}}, "and 'model' is a dict"),
        (".npz", {"a\0b": torch.ones(1)}, "cannot hold the name"),
        (".npz", {"b": torch.ones(1, dtype=torch.bfloat16)}, "no type for tensor 'b'"),
        (".npz", {"o": np.array([object()])}, "'o' is a ndarray of object"),
        (".npy", {"a": torch.ones(1)}, "a .npy file holds one tensor"),
        (".npy", 3, "not a dense tensor"),
    ],
)
def test_what_a_format_cannot_hold(tmp_path: Path, suffix: str, state: Any, fault: str) -> None:
    with pytest.raises(RequestError) as caught:
        file(state, tmp_path, suffix)
    assert fault in caught.value.message
    if "dict" in fault or "step" in fault:
        assert ".pt" in caught.value.hint


@pytest.mark.parametrize("name", ["m.onnx", "m", ".safetensors", "m.pt.gz"])
def test_a_suffix_that_nobody_writes(name: str) -> None:
    with pytest.raises(RequestError, match="cannot write a") as caught:
        writer(Path(name))
    assert caught.value.hint == "the suffix is one of .bin, .ckpt, .npy, .npz, .pt, .pth, .safetensors"
    assert writer(Path("M.PT")) is writer(Path("m.ckpt"))


def test_plug_ins_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "SUFFIXES = ('.mine',)\n"
        "def locate(data): return None\n"
        "def write(state, path): path.write_text(','.join(state))\n"
    )
    (tmp_path / "reads.py").write_text("def locate(data): return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = {"broken": "not_there_at_all", "mine": "mine", "reads": "reads"}
    group = tuple(EntryPoint(name, module, "theta_jupyter.checkpoints") for name, module in names.items())
    monkeypatch.setattr(checkpoints, "_plugins", lambda: group)
    assert file({"a": 1, "b": 2}, tmp_path, ".mine").read_text() == "a,b"
    with pytest.raises(RequestError) as caught:
        writer(Path("m.pt"))
    assert caught.value.hint == "the suffix is one of .mine"


def test_plug_ins_are_light() -> None:
    code = (
        "import sys\n"
        "from theta_jupyter.checkpoints import numpy, safetensors, torch\n"
        "print(*({'numpy', 'torch', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""

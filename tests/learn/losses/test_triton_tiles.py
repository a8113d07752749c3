"""The GPU kernels, run by Triton's interpreter on the CPU, against the tiles in torch; and compiled for GPUs that are not here."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses import Match, info_nce
from nearfar.learn.losses import logsumexp as operation
from nearfar.learn.losses.tiles import EMPTY, Exclusion, Tiles

triton = pytest.importorskip("triton")
from nearfar.learn.losses.triton_tiles import TritonTiles  # noqa: E402

N, M = 70, 100


def vectors(n: int, d: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def rules(scale: float) -> dict[str, Exclusion]:
    rows, columns = torch.arange(N), torch.arange(M)
    several = Match(torch.stack([rows % 7, rows % 5 + 7, torch.full_like(rows, -1)], 1), columns % 20)
    return {
        "nothing left out": Exclusion(),
        "places and keys": Exclusion(always=(Match.places(rows, M),), ignored=(several,)),
        "limits": Exclusion(row_limit=torch.full((N,), 0.2 * scale), column_limit=torch.full((M,), 0.25 * scale)),
        "all of it, and pairs that are kept": Exclusion(
            always=(Match.places(rows, M),),
            ignored=(several,),
            kept=(Match(rows % 3, columns % 3),),
            row_limit=torch.full((N,), 0.2 * scale),
            column_limit=torch.full((M,), 0.25 * scale),
        ),
        "only one label": Exclusion(only=Match(rows % 9, columns % 11 - 1)),
        "a row and a column of which nothing is left": Exclusion(
            ignored=(Match((rows == 3).long() - 1, columns * 0), Match(rows * 0, (columns == 5).long() - 1))
        ),
        "large keys": Exclusion(ignored=(Match(rows % 4 + 2**40, columns % 6 + 2**40),)),
    }


@pytest.mark.parametrize("rule", rules(1.0))
@pytest.mark.parametrize(("scale", "power"), [(20.0, 1.0), (20.0, 0.5), (500.0, 1.0)])
@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-4), (torch.float16, 2e-3)])
def test_the_kernels_agree_with_the_tiles_in_torch(
    rule: str, scale: float, power: float, columns: bool, dtype: torch.dtype, tolerance: float
) -> None:
    """The interpreter knows no bfloat16; float16 takes the same way through the kernels."""
    x, y = vectors(N, 24, 0).to(dtype), vectors(M, 24, 1).to(dtype)
    excluded = rules(scale)[rule]
    fused = TritonTiles(x, y, torch.tensor(scale), excluded, power)
    plain = operation._TorchTiles(Tiles(x.float(), y.float(), torch.tensor(scale), excluded, power))
    expected = plain.logsumexp(columns=columns)
    found = fused.logsumexp(columns=columns)
    for got, wanted in zip(found, expected, strict=True):
        left = wanted > EMPTY / 2
        torch.testing.assert_close(got[left], wanted[left], rtol=1e-5, atol=1e-4)
        assert (got[~left] <= EMPTY / 2).all()

    generator = torch.Generator().manual_seed(2)
    slopes = [torch.rand(len(side), generator=generator) * (side > EMPTY / 2) for side in expected]
    wanted = plain.gradients(*expected, *slopes, of_x=True, of_y=True)
    got = fused.gradients(*expected, *slopes, of_x=True, of_y=True)
    for here, there in zip(got, wanted, strict=True):
        assert here is not None
        assert there is not None
        assert here.dtype == dtype
        assert float((here.float() - there).abs().max()) <= tolerance * float(there.abs().max())


@pytest.mark.parametrize("d", [1, 16, 40, 64, 130])
def test_any_number_of_dimensions_will_do(d: int) -> None:
    x, y, scale = vectors(33, d, 0), vectors(65, d, 1), torch.tensor(10.0)
    found = TritonTiles(x, y, scale, Exclusion()).logsumexp(columns=True)
    scores = (x @ y.T).double() * 10
    torch.testing.assert_close(found[0], (scores.logsumexp(1) / torch.log(torch.tensor(2.0))).float())
    torch.testing.assert_close(found[1], (scores.logsumexp(0) / torch.log(torch.tensor(2.0))).float())


def test_the_slopes_are_made_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    from nearfar.learn.losses import triton_tiles

    x, y, scale = vectors(70, 8, 0), vectors(100, 8, 1), torch.tensor(10.0)
    rows, columns = TritonTiles(x, y, scale, Exclusion()).logsumexp(columns=True)
    at_once = TritonTiles(x, y, scale, Exclusion()).gradients(rows, columns, torch.ones(70), torch.ones(100), of_x=True, of_y=True)  # fmt: skip
    monkeypatch.setattr(triton_tiles, "_PART", 32)
    parts = TritonTiles(x, y, scale, Exclusion()).gradients(rows, columns, torch.ones(70), torch.ones(100), of_x=True, of_y=True)  # fmt: skip
    torch.testing.assert_close(parts, at_once)


def test_the_whole_loss_is_the_same_through_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU runs, loss and gradients, with masks, several positives, both directions and a learned temperature."""

    def loss_and_gradients() -> list[Tensor]:
        anchors, candidates = vectors(N, 16, 3).requires_grad_(), vectors(M, 16, 4).requires_grad_()
        temperature = torch.tensor(0.1, requires_grad=True)
        places = torch.stack([torch.arange(N), torch.arange(N).roll(5)], 1)
        ignored = (Match(torch.arange(N) % 11, torch.arange(M) % 13),)
        loss = info_nce(
            anchors, candidates, places, temperature=temperature, ignored=ignored, margin=0.1, symmetric=True
        )
        return [loss, *torch.autograd.grad(loss, [anchors, candidates, temperature])]

    plain = loss_and_gradients()
    monkeypatch.setattr(operation, "runs_on_triton", lambda vectors: True)
    torch.testing.assert_close(loss_and_gradients(), plain, rtol=1e-4, atol=1e-6)


# Triton compiles for GPUs that are not there; ptxas, which comes with it, tells what the code needs.
_COMPILES = """
import subprocess, sys, tempfile
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from nearfar.learn.losses import triton_tiles

capability, pointer = int(sys.argv[1]), sys.argv[2]
constants = dict(
    D=512, ROWS=128, COLUMNS=128, DEPTH=64 if pointer == "bf16" else 32, PRECISION="tf32",
    ROW_LIMIT=False, COLUMN_LIMIT=False, KEPT=False, OF_COLUMNS=True, BOUNDED=False, TOGETHER=8,
)
sizes = ("n", "m", "first_row", "first_column", "last_row", "last_column")
counts = ("always", "ignored", "kept", "only")

def kind(name):
    if name in constants:
        return "constexpr"
    if name in ("x", "y", "slopes"):
        return "*" + pointer
    if name in ("scale", "power"):
        return "fp32"
    if name in sizes + counts:
        return "i32"
    is_key = name.endswith(("_rows", "_columns", "_which"))
    return "*i32" if is_key else "*fp32"

for kernel in (triton_tiles._sums, triton_tiles._slopes):
    names = kernel.arg_names
    signature = {name: kind(name) for name in names}
    values = {(names.index(name),): value for name, value in constants.items() if name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name][0] == "*" or name in sizes}
    source = ASTSource(fn=kernel, signature=signature, constexprs=values, attrs=aligned)
    stages = 4 if capability == 90 else 3
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 8, "num_stages": stages})
    path = Path(tempfile.mkdtemp()) / "kernel.ptx"
    path.write_text(made.asm["ptx"])
    ptxas = next(Path(triton.__file__).parent.glob("backends/nvidia/bin/ptxas"))
    architecture = f"sm_{capability}" + ("a" if capability == 90 else "")
    said = subprocess.run([ptxas, "-v", f"--gpu-name={architecture}", path, "-o", "/dev/null"], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert " 0 bytes spill stores" in said.stderr, said.stderr
    assert ("wgmma" if capability == 90 else "mma.sync") in made.asm["ptx"]
    print(made.metadata.shared)
"""


@pytest.mark.recipe
@pytest.mark.parametrize(
    ("capability", "dtype", "shared"), [(90, "bf16", 232_448), (80, "bf16", 166_912), (89, "fp32", 101_376)]
)
def test_the_kernels_compile_for_gpus_without_spilling_registers(capability: int, dtype: str, shared: int) -> None:
    """On tensor cores, and within the shared memory of a block."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", _COMPILES, str(capability), dtype]
    compiled = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr
    assert all(int(needed) <= shared for needed in compiled.stdout.split())

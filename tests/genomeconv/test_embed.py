"""From FASTA to file: the right numbers, the same bytes however the work is cut."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import genomeconv
from genomeconv.alphabet import LETTERS
from genomeconv.embed import EmbedOptions, describe_embedding, run_embedding
from genomeconv.errors import (
    CannotCreateError,
    DeviceError,
    ModelError,
    NonFiniteError,
    UsageError,
)
from genomeconv.weights import load_model

CODES = np.zeros(256, dtype=np.int64)
CODES[list(LETTERS)] = range(5)
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


class Silent:
    """A progress that counts and can be told to stop the run."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.total = 0
        self.done = 0
        self.calls = 0
        self.stop_after = stop_after
        self.finished = False

    def start(self, total: int, description: str) -> None:
        self.total = total

    def advance(self, bases: int) -> None:
        self.done += bases
        self.calls += 1
        if self.stop_after is not None and self.calls > self.stop_after:
            raise KeyboardInterrupt

    def finish(self) -> None:
        self.finished = True


def ignore(level: str, text: str) -> None:
    """Take a message."""


def embed(fasta: Path | str, output: Path, model: Path, **options: Any) -> Path:
    given = EmbedOptions(fasta=str(fasta), output=output, model=str(model), **options)
    summary = run_embedding(given, Silent(), ignore)
    assert summary.output == output
    return output


def X(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["X"][:]


def truth(model: Path, sequence: str) -> np.ndarray:
    """Return per-base embeddings of the plain forward, float64."""
    codes = CODES[np.frombuffer(sequence.encode(), dtype=np.uint8)]
    trunk = load_model(model).model.double().trunk
    with torch.no_grad():
        return trunk(torch.from_numpy(codes)[None])[0].numpy()


def reverse_truth(model: Path, sequence: str) -> np.ndarray:
    return truth(model, sequence.translate(COMPLEMENT)[::-1])[::-1]


def binned(x: np.ndarray, bin: int) -> np.ndarray:
    return np.stack([x[i : i + bin].mean(0) for i in range(0, len(x), bin)])


def close(got: np.ndarray, wanted: np.ndarray) -> bool:
    assert got.shape == wanted.shape
    return bool(np.linalg.norm(got - wanted) < 1e-5 * np.linalg.norm(wanted))


TRUTHS = {
    "forward": truth,
    "reverse": reverse_truth,
    "both": lambda m, s: (truth(m, s) + reverse_truth(m, s)) / 2,
}


@pytest.mark.parametrize("strand", TRUTHS)
@pytest.mark.parametrize("kind", ["causal", "two-sided"])
def test_bins_are_means_of_the_plain_forward(
    kind: str, strand: str, fasta, sequences, model_folder, two_sided_folder, tmp_path
) -> None:
    model = model_folder if kind == "causal" else two_sided_folder
    got = X(embed(fasta, tmp_path / "o.h5", model, strand=strand, bin=500))
    wanted = [binned(TRUTHS[strand](model, s), 500) for s in sequences.values()]
    assert close(got, np.concatenate(wanted))


@pytest.mark.parametrize("strand", TRUTHS)
def test_the_chunk_never_changes_a_byte(strand, fasta, model_folder, tmp_path) -> None:
    first, *others = (
        X(embed(fasta, tmp_path / f"{c}.h5", model_folder, strand=strand, chunk=c))
        for c in (1 << 20, 1, 999, 7168, 10_000)
    )
    assert all(np.array_equal(first, other) for other in others)


def test_a_chunk_that_matters_would_be_noticed(
    fasta, model_folder, tmp_path, monkeypatch
) -> None:
    """The test above compares bytes: one base read from elsewhere shows."""
    from genomeconv import passes

    whole = X(embed(fasta, tmp_path / "a.h5", model_folder))
    read = passes._Chunks.read

    def shifted(self, start, stop, length):
        codes = read(self, start, stop, length).copy()
        codes[-1] = (codes[-1] + 1) % 4
        return codes

    monkeypatch.setattr(passes._Chunks, "read", shifted)
    assert not np.array_equal(whole, X(embed(fasta, tmp_path / "b.h5", model_folder)))


def test_rows_per_base_and_whole(fasta, sequences, model_folder, tmp_path) -> None:
    wanted = [truth(model_folder, s) for s in sequences.values()]
    per_base = X(embed(fasta, tmp_path / "b.h5", model_folder, rows="per-base"))
    assert close(per_base, np.concatenate(wanted))
    whole = X(embed(fasta, tmp_path / "w.h5", model_folder, rows="whole"))
    assert close(whole, np.stack([x.mean(0) for x in wanted]))


def test_rows_say_where_they_are(fasta, sequences, model_folder, tmp_path) -> None:
    path = embed(fasta, tmp_path / "o.h5", model_folder, bin=500)
    with genomeconv.open(path) as output:
        rows = output.rows(0, output.n_rows)
        frame = rows.to_pandas()
    at = 0
    for name, sequence in sequences.items():
        for start in range(0, len(sequence), 500):
            row = frame.iloc[at]
            part = sequence[start : start + 500]
            assert (row["sequence"], row["start"]) == (name, start)
            assert row["end"] == start + len(part)
            assert row["n_bases"] == len(part) - part.count("N")
            at += 1
    assert at == len(frame)


@pytest.mark.parametrize("strand", TRUTHS)
def test_regions_see_the_genome_around_them(
    strand, fasta, sequences, model_folder, tmp_path
) -> None:
    regions = ("chr1:10,001-30,500", "chr2:1-700", "{HLA/A*01:01}:101-101")
    got = X(
        embed(
            fasta,
            tmp_path / "o.h5",
            model_folder,
            regions=regions,
            strand=strand,
            bin=1000,
        )
    )
    full = {name: TRUTHS[strand](model_folder, s) for name, s in sequences.items()}
    wanted = [
        binned(full["chr1"][10_000:30_500], 1000),
        binned(full["chr2"][:700], 1000),
        full["HLA/A*01:01"][100:101],
    ]
    assert close(got, np.concatenate(wanted))


def test_a_bed_file_gives_a_row_a_line(
    fasta, sequences, model_folder, tmp_path
) -> None:
    bed = tmp_path / "r.bed"
    bed.write_text("chr2\t5000\t5600\tb\nchr1\t0\t20000\ta\nchr2\t5000\t5600\tb\n")
    path = embed(fasta, tmp_path / "o.h5", model_folder, rows="bed", bed=bed)
    full = {name: truth(model_folder, sequences[name]) for name in ("chr1", "chr2")}
    part = full["chr2"][5000:5600].mean(0)
    assert close(X(path), np.stack([part, full["chr1"][:20_000].mean(0), part]))
    frame = genomeconv.open(path).to_pandas()
    assert frame["name"].tolist() == ["b", "a", "b"]
    assert frame.index.is_unique


@pytest.mark.parametrize("strand", TRUTHS)
@pytest.mark.parametrize("stop_after", [1, 4, 7])
def test_a_stopped_run_continues_to_the_same_bytes(
    strand, stop_after, fasta, model_folder, tmp_path, monkeypatch
) -> None:
    from genomeconv.store import schema

    monkeypatch.setattr(schema, "rows_per_block", lambda *shape: 700)
    options = {"strand": strand, "bin": 10}
    whole = embed(fasta, tmp_path / "whole.h5", model_folder, **options)
    output = tmp_path / "stopped.h5"
    given = EmbedOptions(
        fasta=str(fasta), output=output, model=str(model_folder), **options
    )
    progress = Silent(stop_after)
    with pytest.raises(KeyboardInterrupt):
        run_embedding(given, progress, ignore)
    assert progress.finished
    assert not output.exists()
    again = Silent()
    summary = run_embedding(given, again, ignore)
    assert again.done == pytest.approx(again.total, rel=0.35)
    assert np.array_equal(X(output), X(whole))
    if stop_after == 7 and strand != "both":
        assert summary.resumed_rows > 0
    with h5py.File(output) as a, h5py.File(whole) as b:
        for name in ("obs/start", "obs/n_bases", "obs/_index", "var/_index"):
            assert np.array_equal(a[name][:], b[name][:])


def test_float16_and_its_range(fasta, model_folder, tmp_path) -> None:
    full = X(embed(fasta, tmp_path / "a.h5", model_folder))
    half = X(embed(fasta, tmp_path / "b.h5", model_folder, dtype="float16"))
    assert half.dtype == np.float16
    assert np.array_equal(half, full.astype(np.float16))


def test_a_result_that_is_not_finite_is_refused(
    fasta, model_folder, tmp_path, monkeypatch
) -> None:
    from genomeconv import stream

    tile = stream.TrunkStream._tile

    def broken(self, *args):
        return tile(self, *args) * float("nan")

    monkeypatch.setattr(stream.TrunkStream, "_tile", broken)
    with pytest.raises(NonFiniteError, match=r"^chr1:1-1,024, column dim0: "):
        embed(fasta, tmp_path / "o.h5", model_folder)
    assert not (tmp_path / "o.h5").exists()


def test_standard_input(fasta, model_folder, tmp_path, monkeypatch) -> None:
    wanted = X(embed(fasta, tmp_path / "a.h5", model_folder))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(fasta.read_bytes())))
    assert np.array_equal(wanted, X(embed("-", tmp_path / "b.h5", model_folder)))


def test_precision_and_layer(fasta, sequences, model_folder, tmp_path) -> None:
    full = X(embed(fasta, tmp_path / "a.h5", model_folder))
    low = X(embed(fasta, tmp_path / "b.h5", model_folder, precision="bfloat16"))
    assert 1e-5 < np.linalg.norm(low - full) / np.linalg.norm(full) < 2e-2
    table = X(embed(fasta, tmp_path / "c.h5", model_folder, layer=0, rows="per-base"))
    assert len(np.unique(table, axis=0)) == 5


def test_the_plan_of_a_dry_run_touches_nothing(fasta, model_folder, tmp_path) -> None:
    given = EmbedOptions(
        fasta=str(fasta), output=tmp_path / "o.h5", model=str(model_folder)
    )
    plan = describe_embedding(given, ignore)
    assert plan["rows"] == 40 + 1 + 5 + 1 + 20
    assert plan["columns"] == 8
    assert plan["bases"] == 65_073
    assert plan["bytes_on_disk"] > 67 * 8 * 4
    assert plan["seconds"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": 9}, UsageError, r"^--layer 9: model causal has blocks 1 to 2 "),
        ({"device": "cuda:7"}, DeviceError, r"^--device cuda:7: this machine has "),
        ({"model": "no-such"}, ModelError, "no-such"),
        ({"bin": 0}, UsageError, "^--bin must be at least 1, got 0$"),
        ({"chunk": 0}, UsageError, "^--chunk must be at least 1, got 0$"),
        ({"empty": "skip", "regions": ("one",)}, UsageError, "^--empty skip is for "),
    ],
)
def test_what_cannot_be_done_is_said(
    options, error, message, fasta, model_folder, tmp_path
) -> None:
    with pytest.raises(error, match=message):
        embed(fasta, tmp_path / "o.h5", **{"model": model_folder, **options})
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_exists_is_kept(fasta, model_folder, tmp_path) -> None:
    path = tmp_path / "o.h5"
    embed(fasta, path, model_folder)
    before = path.read_bytes()
    with pytest.raises(CannotCreateError, match="exists"):
        embed(fasta, path, model_folder, bin=10)
    assert path.read_bytes() == before
    embed(fasta, path, model_folder, bin=100_000, overwrite=True)
    assert len(X(path)) == 5


def test_other_options_do_not_continue_an_unfinished_run(
    fasta, model_folder, tmp_path, monkeypatch
) -> None:
    from genomeconv.store import schema

    monkeypatch.setattr(schema, "rows_per_block", lambda *shape: 10)
    given = {
        "fasta": str(fasta),
        "output": tmp_path / "o.h5",
        "model": str(model_folder),
    }
    with pytest.raises(KeyboardInterrupt):
        run_embedding(EmbedOptions(**given), Silent(5), ignore)
    with pytest.raises(CannotCreateError, match="bin"):
        run_embedding(EmbedOptions(**given, bin=99), Silent(), ignore)
    run_embedding(EmbedOptions(**given, bin=99, overwrite=True), Silent(), ignore)


@pytest.mark.parametrize("choice", [{"soft_mask": "n"}, {"gaps": "n"}])
def test_how_letters_are_read_is_part_of_what_a_run_is(
    choice, fasta, model_folder, tmp_path, monkeypatch
) -> None:
    from genomeconv.store import schema

    monkeypatch.setattr(schema, "rows_per_block", lambda *shape: 10)
    given = {
        "fasta": str(fasta),
        "output": tmp_path / "o.h5",
        "model": str(model_folder),
    }
    with pytest.raises(KeyboardInterrupt):
        run_embedding(EmbedOptions(**given), Silent(5), ignore)
    (key, value) = next(iter(choice.items()))
    with pytest.raises(CannotCreateError, match=f'{key} was "[a-z]+", is "{value}"'):
        run_embedding(EmbedOptions(**given, **choice), Silent(), ignore)


def test_the_output_says_how_letters_were_read(model_folder, tmp_path) -> None:
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nACGTacgu-NR\n>a\nT\n")
    choices = {
        "soft_mask": "n",
        "gaps": "remove",
        "duplicates": "number",
        "max_length": 100,
    }
    path = embed(fasta, tmp_path / "o.h5", model_folder, **choices)
    with genomeconv.open(path) as output:
        provenance = output.provenance
    assert {key: provenance["options"][key] for key in choices} == choices
    assert provenance["options"]["names"] == "strict"
    assert provenance["letters"] == {
        "n": 1,
        "iupac_read_as_n": 1,
        "u_read_as_t": 0,
        "lower_case_read_as_n": 4,
        "gaps": 1,
    }


@pytest.mark.parametrize("where", ["anndata", "backed"])
def test_anndata_reads_it(where, fasta, model_folder, tmp_path) -> None:
    import anndata

    path = embed(fasta, tmp_path / "o.h5", model_folder)
    table = anndata.read_h5ad(path, backed="r" if where == "backed" else None)
    assert table.shape == (67, 8)
    assert np.array_equal(np.asarray(table.X[:]), X(path))
    assert table.uns["genomeconv"]["status"] == "complete"
    if where == "backed":
        table.file.close()

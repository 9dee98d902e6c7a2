"""Files of sequences with a class: what is read and refused, how they are split."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomeconv.alphabet import reverse_complement
from genomeconv.errors import DataError, InputMissingError, ModelError
from genomeconv.train.classes.sequences import class_names, read_csv
from genomeconv.train.classes.source import ClassSource
from genomeconv.train.classes.splits import by_fractions
from genomeconv.train.config import DataConfig, SplitConfig, from_dict
from genomeconv.train.config.settings import apply

GOOD = "sequence,label\nACGT,0\nacgu,1\nNRAC,0\n"


def read(path, **data):
    corpus, files = read_csv([str(path)], DataConfig(fasta=(), **data))
    return corpus, files[0]


@pytest.fixture
def table(tmp_path):
    return tmp_path / "x.csv"


def test_what_is_read(table):
    table.write_text('\nid,Label,sequence\n1, 0 ,ACGT\n2,"a,b",acgu\n\n3,0,NRAC\n')
    corpus, items = read(table)
    assert [i.label for i in items] == ["0", "a,b", "0"]
    assert [i.place for i in items] == [f"{table}:{n}" for n in (3, 4, 6)]
    codes = [corpus.codes(i.record, i.start, i.stop).tolist() for i in items]
    assert codes == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 4, 0, 1]]
    (facts,) = corpus.fingerprints()
    assert (facts["records"], facts["bases"], facts["called"]) == (3, 12, 10)


def test_packed_and_with_other_line_ends(tmp_path, table):
    table.write_text(GOOD)
    other = tmp_path / "y.csv.gz"
    other.write_bytes(gzip.compress(GOOD.replace("\n", "\r\n").encode()))
    (a, b), (c, d) = read(table), read(other)
    assert a.fingerprints()[0]["sha256"] == c.fingerprints()[0]["sha256"]
    assert [i.label for i in b] == [i.label for i in d]


def test_letters_as_the_config_says(table):
    table.write_text("sequence,label\nACgt-A,0\n")
    corpus, _ = read(table, soft_mask="n", gaps="n")
    assert corpus.codes(0, 0, 6).tolist() == [0, 1, 4, 4, 4, 0]


REFUSALS = {
    "": "x.csv: is empty; a CSV file was wanted",
    "sequence,label\n": "x.csv: has no rows; a header and sequences were wanted",
    "seq,label\nACGT,0\n": "x.csv:1: no column 'sequence' in the header ('seq', "
    "'label'); sequence and label are wanted",
    "sequence;label\nACGT;0\n": "x.csv:1: no column 'sequence' in the header "
    "('sequence;label'); sequence and label are wanted",
    "sequence,class\nACGT,0\n": "x.csv:1: no column 'label' in the header "
    "('sequence', 'class'); sequence and label are wanted",
    ">chr1\nACGT\n": "x.csv:1: no column 'sequence' in the header ('>chr1'); "
    "sequence and label are wanted",
    "sequence,label\nACGT\n": "x.csv:2: 1 columns, the header has 2",
    "sequence,label\nACGT,0,1\n": "x.csv:2: 3 columns, the header has 2",
    "sequence,label\n,0\n": "x.csv:2: the sequence is empty",
    "sequence,label\nACGT,0\nACGT, \n": "x.csv:3: the label is empty; every row needs "
    "a class",
    "sequence,label\nAC-T,0\n": "x.csv:2: the sequence has a gap '-'; remove the gaps "
    "of an alignment first, or embed with --gaps n or --gaps remove",
    "sequence,label\nACZT,0\n": "x.csv:2: the sequence has 'Z', which is not a letter "
    "of DNA; replace it by N or remove it",
    "sequence,label\nACGTACGTACGTACGTA,0\n": "x.csv:2: 17 bases, data.window takes 16; "
    "raise it",
    'sequence,label\n"ACGT,0\n': "x.csv:2: not a line of CSV: unexpected end of data",
}


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(table, text):
    table.write_text(text)
    with pytest.raises(DataError) as caught:
        read(table, window=16)
    assert str(caught.value) == f"{table.parent}/{REFUSALS[text]}"


def test_no_file(table):
    with pytest.raises(InputMissingError):
        read(table)


def test_class_names(table):
    def names(*labels, wanted=()):
        rows = [f"ACGT,{label}" for label in labels]
        table.write_text("\n".join(["sequence,label", *rows]))
        return class_names(read(table)[1], wanted)

    assert names("10", "9", "10") == ("9", "10")
    assert names("b", "a") == ("a", "b")
    assert names("b", "a", wanted=("b", "a")) == ("b", "a")
    with pytest.raises(DataError) as caught:
        names("b", "b")
    assert str(caught.value) == (
        f"{table}:2: all 2 sequences have the class 'b'; two classes or more are wanted"
    )
    with pytest.raises(ModelError) as missing:
        names("b", "a", wanted=("a", "c"))
    assert str(missing.value) == (
        "config: model.outputs must be the classes of objective.annotation (a, b), got "
        "a, c"
    )


def either_strand(corpus, item):
    codes = np.asarray(corpus.codes(item.record, item.start, item.stop))
    return min(codes.tobytes(), reverse_complement(codes).tobytes())


@given(
    st.lists(st.text("ACGT", min_size=1, max_size=3), min_size=3, max_size=60),
    st.integers(0, 2**31),
)
@settings(max_examples=50, deadline=None)
def test_no_sequence_is_in_two_splits(tmp_path_factory, texts, seed):
    """Nor its reverse complement; together they are all of them."""
    path = tmp_path_factory.mktemp("x") / "x.csv"
    path.write_text("\n".join(["sequence,label", *(f"{t},0" for t in texts)]))
    corpus, items = read(path)
    split = SplitConfig(valid_fraction=0.3, test_fraction=0.2, seed=seed)
    parts = by_fractions(items, corpus, split)
    keys = {
        p: {either_strand(corpus, i) for i in chosen} for p, chosen in parts.items()
    }
    assert not keys["train"] & keys["valid"]
    assert not keys["train"] & keys["test"]
    assert not keys["valid"] & keys["test"]
    places = [i.place for chosen in parts.values() for i in chosen]
    assert sorted(places) == sorted(i.place for i in items)
    assert parts == by_fractions(items, corpus, split)


def test_fractions_are_kept(table):
    """With sequences that all differ, to the sequence."""
    texts = {f"{i:05b}".replace("0", "A").replace("1", "C") for i in range(20)}
    table.write_text("\n".join(["sequence,label", *(f"{t},0" for t in texts)]))
    corpus, items = read(table)
    split = SplitConfig(valid_fraction=0.3, test_fraction=0.2)
    parts = by_fractions(items, corpus, split)
    assert {p: len(i) for p, i in parts.items()} == {
        "train": 10, "valid": 6, "test": 4,
    }  # fmt: skip


def config_of(path, *given_):
    values = {
        "data": {"fasta": []},
        "objective": {"kind": "classes", "annotation": str(path)},
    }
    return from_dict(apply(values, given_))


def held_out(tmp_path, dev):
    train, valid = tmp_path / "train.csv", tmp_path / "dev.csv"
    train.write_text("sequence,label\nAAAA,0\nCCCA,1\nACAC,0\nGGTA,1\n")
    valid.write_text(f"sequence,label\n{dev}")
    said = []
    given_ = ("split.by=files", f"split.valid={json.dumps([str(valid)])}")
    source = ClassSource(config_of(train, *given_), lambda *w: said.append(w))
    return source, said, valid


def test_a_dev_file(tmp_path):
    """What is judged is not learned from, in neither reading."""
    source, said, _ = held_out(tmp_path, "TACC,1\nTTTT,0\nGAGA,0\n")
    assert {p: len(i) for p, i in source.items.items()} == {
        "train": 2, "valid": 3, "test": 0,
    }  # fmt: skip
    assert said == [
        (
            "warning",
            "2 sequences of split.train are left out: held-out text has them too, or "
            "their reverse complement",
        )
    ]
    assert source.samples("test") is None


def test_a_dev_file_with_another_class(tmp_path):
    with pytest.raises(DataError) as caught:
        held_out(tmp_path, "GAGA,2\n")
    path = tmp_path / "dev.csv"
    assert str(caught.value) == f"{path}:2: the class '2' is none of '0', '1'"


def test_a_file_of_two_splits(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(GOOD)
    given_ = ("split.by=files", f"split.valid={json.dumps([str(path)])}")
    with pytest.raises(DataError) as caught:
        ClassSource(config_of(path, *given_), lambda *_: None)
    assert str(caught.value) == f"{path}: is named twice; a file is of one split"


def test_nothing_is_left(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(GOOD)
    with pytest.raises(ModelError, match="leaves no sequence to learn from"):
        ClassSource(
            config_of(path, "split.valid_fraction=0.5", "split.test_fraction=0.49"),
            lambda *_: None,
        )


BED_REFUSALS = {
    "chr1\t0\t50\n": "no class in column 4 (name)",
    "chr1\t0\t50\t.\n": "no class in column 4 (name)",
    "chr1\t0\t50\ta\t1\tx\n": "the strand (column 6) is 'x', not + - or .",
    "chr9\t0\t50\ta\n": None,
    "chr1\t0\t4000\ta\n": "4,000 bases, data.window takes 2,048; raise it",
}


@pytest.mark.parametrize("line", BED_REFUSALS)
def test_regions_that_are_refused(fasta, tmp_path, line):
    path = tmp_path / "x.bed"
    path.write_text(f"chr1\t0\t60\tb\n{line}")
    config = config_of(path, f"data.fasta={json.dumps([str(fasta)])}")
    with pytest.raises(DataError) as caught:
        ClassSource(config, lambda *_: None)
    wanted = BED_REFUSALS[line] or "no sequence 'chr9' in "
    assert str(caught.value).startswith(f"{path}:2: {wanted}")

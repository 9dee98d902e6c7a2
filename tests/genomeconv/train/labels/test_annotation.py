"""Gene structure as labels, beside sets of positions; every line that is refused."""

from __future__ import annotations

import gzip
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomeconv.errors import DataError
from genomeconv.train.labels.annotation import (
    CLASSES,
    OUTPUTS,
    SHORTEST_INTRON,
    other_strand,
    union,
)
from genomeconv.train.labels.files import read_annotation

LENGTHS = {"chr1": 120, "chr2": 40}


def read(path, text, lengths=LENGTHS):
    path.write_text(text)
    said = []
    annotation = read_annotation(
        path, lengths, "genome.fa", lambda level, sentence: said.append(sentence)
    )
    return annotation, said


def positions(annotation, record, size):
    """Output -> the bases that have it."""
    masks = annotation.masks(record, 0, size)
    return {
        name: set(np.flatnonzero((masks >> i) & 1).tolist())
        for i, name in enumerate(OUTPUTS)
    }


def spread(*stretches):
    """Bases of stretches given as people write them, 1-based inclusive."""
    return {i - 1 for a, b in stretches for i in range(a, b + 1)}


GTF = """\
#!genome-build none
chr1\tx\tgene\t11\t80\t.\t+\t.\tgene_id "g";
chr1\tx\ttranscript\t11\t80\t.\t+\t.\tgene_id "g"; transcript_id "t1";
chr1\tx\texon\t11\t30\t.\t+\t.\tgene_id "g"; transcript_id "t1"; exon_number "1";
chr1\tx\texon\t51\t80\t.\t+\t.\tgene_id "g"; transcript_id "t1";
chr1\tx\tCDS\t21\t30\t.\t+\t0\tgene_id "g"; transcript_id "t1";
chr1\tx\tCDS\t51\t57\t.\t+\t0\tgene_id "g"; transcript_id "t1";
chr1\tx\tstop_codon\t58\t60\t.\t+\t0\tgene_id "g"; transcript_id "t1";
chr1\tx\texon\t11\t30\t.\t+\t.\tgene_id "g"; transcript_id "t2";
chr1\tx\texon\t71\t80\t.\t+\t.\tgene_id "g"; transcript_id "t2";
chr1\tx\tstart_codon\t21\t23\t.\t+\t0\tgene_id "g"; transcript_id "t1";
"""


def test_a_gene_with_two_isoforms(tmp_path):
    """One isoform is translated, one is not: UTR is of the first alone."""
    annotation, said = read(tmp_path / "a.gtf", GTF)
    found = positions(annotation, 0, 120)
    assert found["donor+"] == spread((30, 30))
    assert found["acceptor+"] == spread((51, 51), (71, 71))
    assert found["CDS+"] == spread((21, 30), (51, 60))
    assert found["UTR+"] == spread((11, 20), (61, 80))
    assert found["intron+"] == spread((31, 70))
    assert found["intergenic+"] == spread((1, 10), (81, 120))
    assert found["intergenic-"] == spread((1, 120))
    assert not any(found[f"{name}-"] for name in CLASSES[:-1])
    assert not said


def test_the_other_strand_has_its_sites_the_other_way_round(tmp_path):
    annotation, _ = read(tmp_path / "a.gtf", GTF.replace("\t+\t", "\t-\t"))
    found = positions(annotation, 0, 120)
    assert found["donor-"] == spread((51, 51), (71, 71))
    assert found["acceptor-"] == spread((30, 30))
    assert found["CDS-"] == spread((21, 30), (51, 60))


def gff3(*rows):
    return "##gff-version 3\n" + "".join(
        f"{name}\tx\t{kind}\t{a}\t{b}\t.\t{strand}\t.\t{text}\n"
        for name, kind, a, b, strand, text in rows
    )


def test_gff3_groups_by_parent(tmp_path):
    text = gff3(
        ("chr1", "gene", 5, 60, "-", "ID=g"),
        ("chr1", "CDS", 5, 20, "-", "ID=c;Parent=g"),
        ("chr1", "CDS", 41, 60, "-", "ID=c;Parent=g"),
        ("chr1", "exon", 5, 60, "-", "Parent=t,u"),
        ("chr2", "tRNA", 3, 9, "+", "ID=r"),
    )
    annotation, _ = read(tmp_path / "a.gff3", text + "##FASTA\n>chr1\nACGT\n")
    found = positions(annotation, 0, 120)
    assert found["CDS-"] == spread((5, 20), (41, 60))
    assert found["donor-"] == spread((41, 41))
    assert found["acceptor-"] == spread((20, 20))
    assert found["UTR-"] == set()  # t and u are not translated
    assert positions(annotation, 1, 40)["intergenic+"] == spread((1, 2), (10, 40))


@pytest.mark.parametrize("gap", [SHORTEST_INTRON - 1, SHORTEST_INTRON])
def test_short_gaps_are_no_introns(tmp_path, gap):
    text = gff3(
        ("chr1", "CDS", 10, 30, "+", "Parent=g"),
        ("chr1", "CDS", 31 + gap, 70, "+", "Parent=g"),
    )
    found = positions(read(tmp_path / "a.gff3", text)[0], 0, 120)
    assert len(found["intron+"]) == (gap if gap == SHORTEST_INTRON else 0)
    assert len(found["donor+"]) == len(found["acceptor+"]) == (gap == SHORTEST_INTRON)


def test_bed12_and_classes(tmp_path):
    text = (
        "track name=x\n"
        "chr1\t9\t80\tt\t0\t+\t19\t60\t0\t2\t21,30,\t0,41,\n"
        "chr2\t4\t9\tCDS\t0\t-\n"
        "chr2\t9\t10\tdonor\t0\t-\n"
    )
    annotation, _ = read(tmp_path / "a.bed", text)
    found = positions(annotation, 0, 120)
    assert found["CDS+"] == spread((20, 30), (51, 60))
    assert found["UTR+"] == spread((10, 19), (61, 80))
    assert found["intron+"] == spread((31, 50))
    assert found["donor+"] == spread((30, 30))
    assert positions(annotation, 1, 40)["CDS-"] == spread((5, 9))
    assert positions(annotation, 1, 40)["donor-"] == spread((10, 10))


def test_a_slice_takes_the_genes_of_its_chromosome(tmp_path):
    lengths = {"chr1:41-100": 60, "chr1:1-99": 40}
    annotation, _ = read(tmp_path / "a.gtf", GTF, lengths)
    found = positions(annotation, 0, 60)
    assert found["CDS+"] == spread((11, 20))
    assert found["acceptor+"] == spread((11, 11), (31, 31))
    assert found["donor+"] == set()  # at 30, before the slice
    assert found["intergenic+"] == spread((41, 60))
    assert positions(annotation, 1, 40)["intergenic+"] == spread((1, 40))


def test_gzip_gives_the_same(tmp_path):
    plain, _ = read(tmp_path / "a.gtf", GTF)
    (tmp_path / "a.gtf.gz").write_bytes(gzip.compress(GTF.encode()))
    packed = read_annotation(tmp_path / "a.gtf.gz", LENGTHS, "genome.fa", print)
    assert (plain.masks(0, 0, 120) == packed.masks(0, 0, 120)).all()


def line(kind="CDS", a="5", b="9", strand="+", text="Parent=g", name="chr1"):
    return f"{name}\tx\t{kind}\t{a}\t{b}\t.\t{strand}\t.\t{text}\n"


REFUSED = {
    "columns": (
        "chr1\tx\tCDS\t1\t9\n",
        "5 columns by tabs; a GTF or GFF3 line has 9, the strand in column 7, a BED "
        "line 6 or 12, start and end in columns 2 and 3",
    ),
    "start": (line(a="x"), "start 'x' is not a whole number of 0 or more"),
    "zero": (line(a="0"), "start 0 to end 9 is not a stretch counted from 1"),
    "order": (line(a="10"), "start 10 to end 9 is not a stretch counted from 1"),
    "past": (line(b="121"), "end 121 is past the end, 'chr1' has 120 bases"),
    "strand": (line(strand="."), "the strand of CDS is '.', not + or -"),
    "group": (
        line(text="note"),
        "CDS belongs to no transcript: column 9 has neither transcript_id (GTF) nor "
        "key=value (GFF3): 'note'",
    ),
    "bed strand": (
        "chr1\t1\t5\tCDS\t0\t.\n",
        "the strand (column 6) is '.', not + or -",
    ),
    "bed class": (
        "chr1\t1\t5\tpromoter\t0\t+\n",
        "column 4 is 'promoter'; wanted donor, acceptor, CDS, UTR, intron, or the 12 "
        "columns of a transcript",
    ),
    "bed order": ("chr1\t5\t5\tCDS\t0\t+\n", "start 5 is not before end 5"),
    "blocks": (
        "chr1\t9\t80\tt\t0\t+\t19\t60\t0\t2\t21,31,\t0,41,\n",
        "the blocks (columns 10 to 12) do not fit start and end",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_bad_lines(tmp_path, fault):
    bad, message = REFUSED[fault]
    path = tmp_path / "a.txt"
    with pytest.raises(DataError) as caught:
        read(path, "# a comment\n\n" + bad)
    assert str(caught.value) == f"{path}:3: {message}"
    assert caught.value.exit_code == 65


def test_a_genome_of_other_names(tmp_path):
    path = tmp_path / "a.gff3"
    with pytest.raises(DataError) as caught:
        read(path, line(name="1"))
    assert str(caught.value) == (
        f"{path}: no sequence '1' in genome.fa; did you mean 'chr1'?"
    )


def test_a_file_without_genes(tmp_path):
    path = tmp_path / "a.gff3"
    with pytest.raises(DataError) as caught:
        read(path, line(kind="telomere"))
    assert str(caught.value) == (
        f"{path}: has no exon, CDS or gene; give an annotation"
    )


def test_what_is_passed_over_is_said(tmp_path):
    path = tmp_path / "a.gff3"
    others = "".join(line(name=f"chr{i}") for i in (3, 4, 4, 5, 6))
    _, said = read(path, line() + others)
    assert said == [
        f"{path}: 5 lines passed over: no sequence 'chr3', 'chr4', 'chr5' and 1 more "
        "in genome.fa"
    ]


TRANSCRIPTS = st.lists(
    st.tuples(
        st.sampled_from("+-"),
        st.lists(st.tuples(st.integers(1, 25), st.integers(1, 25)), min_size=1),
        st.integers(1, 30),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@given(TRANSCRIPTS, st.integers(0, 119), st.integers(1, 120))
def test_any_transcripts(tmp_path_factory, transcripts, start, size):
    """Beside sets of positions, base by base."""
    right = {name: set() for name in OUTPUTS}
    rows = []
    for number, (strand, blocks, first, coding) in enumerate(transcripts):
        exons, at = [], first
        for width, gap in blocks:
            if at + width - 1 > 120:
                break
            exons.append((at, at + width - 1))
            at += width + gap
        parent = f"Parent=t{number}"
        rows += [("chr1", "exon", a, b, strand, parent) for a, b in exons]
        if coding and exons:
            a, b = exons[len(exons) // 2]
            rows.append(("chr1", "CDS", a, b, strand, parent))
            right[f"CDS{strand}"] |= spread((a, b))
            right[f"UTR{strand}"] |= spread(*exons) - spread((a, b))
        for (_, b), (c, _) in pairwise(exons):
            if c - b - 1 >= SHORTEST_INTRON:
                right[f"intron{strand}"] |= spread((b + 1, c - 1))
                ends = ("donor", b), ("acceptor", c)
                if strand == "-":
                    ends = ("donor", c), ("acceptor", b)
                for name, place in ends:
                    right[f"{name}{strand}"].add(place - 1)
        if exons:
            right[f"intergenic{strand}"] |= spread((exons[0][0], exons[-1][1]))
    if not rows:
        return
    for strand in "+-":
        name = f"intergenic{strand}"
        right[name] = spread((1, 120)) - right[name]
    path = tmp_path_factory.getbasetemp() / "any.gff3"
    annotation, _ = read(path, gff3(*rows))
    assert positions(annotation, 0, 120) == right
    stop = min(120, start + size)
    whole = annotation.masks(0, 0, 120)
    assert (annotation.masks(0, start, stop) == whole[start:stop]).all()
    counts = annotation.frequencies([(0, start, stop)]) * (stop - start)
    for i, name in enumerate(OUTPUTS):
        assert round(counts[i]) == len(right[name] & set(range(start, stop)))


@given(st.lists(st.integers(0, 4095), max_size=20))
def test_the_other_strand(values):
    masks = np.array(values, np.uint16)
    turned = other_strand(masks)
    for i, name in enumerate(OUTPUTS):
        other = name[:-1] + ("-" if name[-1] == "+" else "+")
        j = OUTPUTS.index(other)
        assert ((turned >> j) & 1).tolist() == ((masks[::-1] >> i) & 1).tolist()
    assert (other_strand(turned) == masks).all()


SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10)), max_size=8)


@given(SPANS, SPANS)
def test_differences_of_stretches(some, others):
    a, b = (union([x for x, _ in s], [x + n for x, n in s]) for s in (some, others))

    def bases(found):
        pairs = zip(found.starts, found.stops, strict=True)
        return [i for x, y in pairs for i in range(x, y)]

    taken = set(bases(b))
    rest = a.minus(b)
    assert bases(rest) == [i for i in sorted(bases(a)) if i not in taken]
    assert (rest.starts[1:] > rest.stops[:-1]).all()


@given(SPANS, st.integers(0, 50), st.integers(1, 30))
def test_a_cut_has_no_empty_stretch(spans, start, size):
    found = union([x for x, _ in spans], [x + n for x, n in spans])
    cut = found.cut(start, start + size)
    pairs = zip(found.starts.tolist(), found.stops.tolist(), strict=True)
    right = [
        (max(a, start) - start, min(b, start + size) - start)
        for a, b in pairs
        if a < start + size and b > start
    ]
    pairs = zip(cut.starts.tolist(), cut.stops.tolist(), strict=True)
    assert list(pairs) == right
    assert cut.bases() == sum(b - a for a, b in right)

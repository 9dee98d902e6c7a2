"""Discrete Fourier transforms of a tile that stays on the chip.

F points, F = N1 N2 (order 2) or N1 N2 N3 (order 3; N3 = 1 stands for none). Position n
stands at n = (n1 N2 + n2) N3 + n3, frequency k at (k1 N2 + k2) N3 + k3 with
k = k1 + N1 k2 + N1 N2 k3: each factor is one product with a small DFT matrix, and the
twiddle factors between are products of entries. Both ways are orthonormal
(1/sqrt(N) in each matrix), so magnitudes stay those of the input in float16.

    order 2   X = (T * (W1 x)) W2                    tiles (N1, N2)
    order 3   x (N1, N2 N3) -> X (N1 N2, N3): W1 x, twiddles of F points; (n2, n3)
              turned to (n3, n2), times W2, twiddles of N2 N3 points; back, times W3

Products from the right take their tile out of registers; turning goes through shared
memory, so it is done in the type of the operands. A DFT matrix of N points is given as
two (N, N) tables, cosine then sine, and twiddles likewise, in the type of the products'
operands; see `tables`.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _matrix(table, N: tl.constexpr):
    """Cosine and sine of a DFT matrix (N, N)."""
    i = tl.arange(0, N)
    at = i[:, None] * N + i[None, :]
    return tl.load(table + at), tl.load(table + N * N + at)


@triton.jit
def turn(
    re, im, table, F: tl.constexpr, M: tl.constexpr, N: tl.constexpr, SIGN: tl.constexpr
):
    """Multiply by twiddles exp(SIGN i angle): M rows of F cosines, then F sines."""
    at = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    c = tl.load(table + at).to(tl.float32)
    s = tl.load(table + F + at).to(tl.float32) * SIGN
    return re * c - im * s, re * s + im * c


@triton.jit
def _turn_each(
    re, im, table, B: tl.constexpr, M: tl.constexpr, N: tl.constexpr, SIGN: tl.constexpr
):
    """Multiply a tile (B M, N) by twiddles stored (2, M, N), the same for each of B."""
    at = (tl.arange(0, B * M) % M)[:, None] * N + tl.arange(0, N)[None, :]
    c = tl.load(table + at).to(tl.float32)
    s = tl.load(table + M * N + at).to(tl.float32) * SIGN
    return re * c - im * s, re * s + im * c


@triton.jit
def _operands(re, im, table, N: tl.constexpr, SIGN: tl.constexpr):
    """Matrix c + i s (N, N); in its type a tile re + i im, and SIGN i times it."""
    c, s = _matrix(table, N)
    re = re.to(c.dtype)
    im = im.to(c.dtype)
    if SIGN < 0:
        return c, s, re, im, im, -re
    else:
        return c, s, re, im, -im, re


@triton.jit
def _left(re, im, table, N: tl.constexpr, SIGN: tl.constexpr, PRECISION: tl.constexpr):
    """exp(SIGN i ...) matrix (N, N) times a tile (N, M); float32 out."""
    c, s, re, im, p, q = _operands(re, im, table, N, SIGN)
    a = tl.dot(c, re, input_precision=PRECISION)
    a = tl.dot(s, p, a, input_precision=PRECISION)
    b = tl.dot(c, im, input_precision=PRECISION)
    b = tl.dot(s, q, b, input_precision=PRECISION)
    return a, b


@triton.jit
def _right(re, im, table, N: tl.constexpr, SIGN: tl.constexpr, PRECISION: tl.constexpr):
    """Multiply a tile (M, N) by the exp(SIGN i ...) matrix (N, N); float32 out."""
    c, s, re, im, p, q = _operands(re, im, table, N, SIGN)
    a = tl.dot(re, c, input_precision=PRECISION)
    a = tl.dot(p, s, a, input_precision=PRECISION)
    b = tl.dot(im, c, input_precision=PRECISION)
    b = tl.dot(q, s, b, input_precision=PRECISION)
    return a, b


@triton.jit
def _swapped(x, like, B: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    """B matrices (M, N) to B matrices (N, M), as a tile (B N, M)."""
    x = tl.reshape(x.to(like.dtype.element_ty), (B, M, N))
    return tl.reshape(tl.permute(x, (0, 2, 1)), (B * N, M))


@triton.jit
def positions(N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr):
    """Tile of positions n, as `forward` takes it."""
    return tl.arange(0, N1)[:, None] * (N2 * N3) + tl.arange(0, N2 * N3)[None, :]


@triton.jit
def frequencies(N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr):
    """Tile of places in a spectrum, as `forward` leaves it."""
    if N3 == 1:
        return positions(N1, N2, 1)
    else:
        return positions(N1 * N2, N3, 1)


@triton.jit
def _after_first(
    re, im, table, row, R: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Do what follows the first factor, for R of its N1 rows, from `row` on."""
    F: tl.constexpr = N1 * N2 * N3
    dft2 = table + 2 * N1 * N1
    dft3 = dft2 + 2 * N2 * N2
    outer = dft3 + (2 * N3 * N3 if N3 > 1 else 0)
    re, im = turn(re, im, outer + row * (N2 * N3), F, R, N2 * N3, -1)
    if N3 == 1:
        re, im = _right(re, im, dft2, N2, -1, PRECISION)
    else:
        re, im = _swapped(re, table, R, N2, N3), _swapped(im, table, R, N2, N3)
        re, im = _right(re, im, dft2, N2, -1, PRECISION)
        re, im = _turn_each(re, im, outer + 4 * F, R, N3, N2, -1)
        re, im = _swapped(re, table, R, N3, N2), _swapped(im, table, R, N3, N2)
        re, im = _right(re, im, dft3, N3, -1, PRECISION)
    return re, im


@triton.jit
def forward(
    re, im, table,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Transform positions (N1, N2 N3) into frequencies: (N1, N2), or (N1 N2, N3).

    table is what `tables.transform` makes for these factors.
    """
    re, im = _left(re, im, table, N1, -1, PRECISION)
    return _after_first(re, im, table, 0, N1, N1, N2, N3, PRECISION)


@triton.jit
def forward_rows(
    re, im, table, row, R: tl.constexpr,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Transform positions (N1, N2 N3) into the frequencies of R k1 from `row` on.

    As `forward` leaves them, the places from row N2 N3 on: a share of the whole that
    takes as many fewer registers.
    """
    at = (row + tl.arange(0, R))[:, None] * N1 + tl.arange(0, N1)[None, :]
    c, s = tl.load(table + at), tl.load(table + N1 * N1 + at)
    re, im = re.to(c.dtype), im.to(c.dtype)
    a = tl.dot(c, re, input_precision=PRECISION)
    a = tl.dot(s, im, a, input_precision=PRECISION)
    b = tl.dot(c, im, input_precision=PRECISION)
    b = tl.dot(s, -re, b, input_precision=PRECISION)
    return _after_first(a, b, table, row, R, N1, N2, N3, PRECISION)


@triton.jit
def inverse(
    re, im, table,
    N1: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Transform frequencies as `forward` leaves them into positions (N1, N2 N3)."""
    dft2 = table + 2 * N1 * N1
    dft3 = dft2 + 2 * N2 * N2
    F: tl.constexpr = N1 * N2 * N3
    if N3 == 1:
        re, im = _right(re, im, dft2, N2, 1, PRECISION)
        re, im = turn(re, im, dft3, F, N1, N2, 1)
    else:
        turned = dft3 + 2 * N3 * N3 + 2 * F
        inner = turned + 2 * F + 2 * N2 * N3
        re, im = _right(re, im, dft3, N3, 1, PRECISION)
        re, im = _turn_each(re, im, inner, N1, N2, N3, 1)
        re, im = _swapped(re, table, N1, N2, N3), _swapped(im, table, N1, N2, N3)
        re, im = _right(re, im, dft2, N2, 1, PRECISION)
        re, im = turn(re, im, turned, F, N1 * N3, N2, 1)
        re, im = _swapped(re, table, N1, N3, N2), _swapped(im, table, N1, N3, N2)
        re, im = tl.reshape(re, (N1, N2 * N3)), tl.reshape(im, (N1, N2 * N3))
    return _left(re, im, table, N1, 1, PRECISION)

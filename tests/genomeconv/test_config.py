"""Configurations: round trip, and one refusal for every thing that can be wrong."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomeconv.config import (
    ExplicitFilter,
    FilterConfig,
    ImplicitFilter,
    ModalFilter,
    ModelConfig,
    SGConvFilter,
    SquashFilter,
    from_dict,
    to_dict,
)
from genomeconv.errors import ModelError
from genomeconv.model import build_model
from genomeconv.tokens import HYENA_ROWS, HYENA_UNKNOWN, HYENA_VOCABULARY

FAMILIES = (ImplicitFilter, SGConvFilter, SquashFilter, ModalFilter, ExplicitFilter)


@st.composite
def filters(draw: st.DrawFn) -> FilterConfig:
    taps = draw(st.integers(1, 60))
    right = draw(st.integers(0, taps - 1))
    return draw(st.sampled_from(FAMILIES))(taps=taps, right=right)


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    chosen = draw(st.lists(filters(), min_size=1, max_size=3))
    return ModelConfig(
        width=draw(st.integers(1, 12)),
        layers=draw(st.integers(len(chosen), 4)),
        filters=tuple(chosen),
        expand=draw(st.integers(1, 4)),
        short_taps=draw(st.integers(1, 8)),
        vocabulary=draw(st.integers(5, 20)),
        head=draw(st.sampled_from(["tied", "free", "none"])),
        outputs=tuple(draw(st.lists(st.sampled_from("abcd"), unique=True))),
    )


@given(configs())
@settings(max_examples=60, deadline=None)
def test_round_trip_through_json(config: ModelConfig) -> None:
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


@given(configs())
@settings(max_examples=60, deadline=None)
def test_parameters_are_counted_exactly(config: ModelConfig) -> None:
    """What training moves; constants in the weights, as SGConv's norm, are none."""
    model = build_model(config)
    assert config.parameters() == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("width", "layers", "length", "parameters"),
    [
        (128, 2, 1_024, 436_096),
        (256, 2, 1_024, 1_641_088),
        (128, 2, 16_384, 436_096),
        (256, 4, 32_768, 3_277_568),
        (256, 8, 450_000, 6_550_528),
        (256, 8, 1_000_000, 6_550_528),
    ],
)
def test_published_models_have_the_published_number_of_parameters(
    width: int, layers: int, length: int, parameters: int
) -> None:
    config = ModelConfig(
        width=width,
        layers=layers,
        filters=(ImplicitFilter(taps=length + 2),),
        vocabulary=HYENA_VOCABULARY,
        token_ids=HYENA_ROWS,
        unknown_id=HYENA_UNKNOWN,
    )
    assert config.parameters() == parameters


def test_configurations_are_frozen() -> None:
    config = from_dict(good())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.width = 5  # type: ignore[misc]


def test_contexts() -> None:
    two = (ImplicitFilter(taps=10, right=3), ModalFilter(taps=5))
    config = ModelConfig(width=4, layers=3, filters=two)
    assert not config.causal
    assert [config.left_context(n) for n in range(4)] == [0, 8, 14, 22]
    assert [config.right_context(n) for n in range(4)] == [0, 3, 3, 6]
    assert config.left_context() == 22
    assert ModelConfig(width=4, layers=3, filters=two[1:]).causal


def good(**changes: Any) -> dict[str, Any]:
    values = {"width": 8, "layers": 2, "filters": [{"family": "implicit", "taps": 16}]}
    return {**values, **changes}


def one(family: str = "implicit", **values: Any) -> dict[str, Any]:
    return good(filters=[{"family": family, "taps": 16, **values}])


KNOWN = (
    "width, layers, filters, short_taps, expand, vocabulary, token_ids, unknown_id, "
    "norm_eps, head, outputs"
)
REFUSALS: list[tuple[Any, str]] = [
    ([], "config: an object was wanted, got []"),
    (good(depth=2), f"config: unknown key 'depth' (known: {KNOWN})"),
    (good(path="../../x"), f"config: unknown key 'path' (known: {KNOWN})"),
    ({"layers": 2, "filters": []}, "config: width is missing"),
    ({"width": 2, "filters": []}, "config: layers is missing"),
    ({"width": 2, "layers": 2}, "config: filters is missing"),
    (good(width="8"), "config.width must be a whole number, got '8'"),
    (good(width=8.0), "config.width must be a whole number, got 8.0"),
    (good(width=True), "config.width must be a whole number, got True"),
    (good(width=None), "config.width must be a whole number, got None"),
    (good(width=-8), "config: width must be 1 to 65536, got -8"),
    (good(width=1 << 40), "config: width must be 1 to 65536, got 1099511627776"),
    (good(width=10**5000), "config: width must be 1 to 65536, got a huge value"),
    (good(layers=0), "config: layers must be 1 to 1024, got 0"),
    (good(layers=10**9), "config: layers must be 1 to 1024, got 1000000000"),
    (good(expand=65), "config: expand must be 1 to 64, got 65"),
    (good(short_taps=0), "config: short_taps must be 1 to 8, got 0"),
    (good(vocabulary=4), "config: vocabulary must be 5 to 65536, got 4"),
    (
        good(token_ids=[0, 1]),
        "config: token_ids must be five rows: A C G T N, got (0, 1)",
    ),
    (
        good(token_ids="ACGTN"),
        "config.token_ids must be a list of whole numbers, got 'ACGTN'",
    ),
    (
        good(token_ids=[0, 1, 2, 3, True]),
        "config.token_ids must be a list of whole numbers, got [0, 1, 2, 3, True]",
    ),
    (
        good(token_ids=[0, 1, 2, 3, 5]),
        "config: token_ids must be rows below vocabulary 5, got 5",
    ),
    (
        good(token_ids=[-1, 1, 2, 3, 4]),
        "config: token_ids must be rows below vocabulary 5, got -1",
    ),
    (good(unknown_id=9), "config: token_ids must be rows below vocabulary 5, got 9"),
    (good(norm_eps=0), "config: norm_eps must be in (0, 1), got 0"),
    (good(norm_eps=math.nan), "config.norm_eps must be a finite number, got nan"),
    (good(norm_eps="x"), "config.norm_eps must be a finite number, got 'x'"),
    (
        good(outputs=["a", "a"]),
        "config: outputs must be at most 65536 different names that can be printed, "
        "got ('a', 'a')",
    ),
    (
        good(outputs=["\x1b[2J"]),
        "config: outputs must be at most 65536 different names that can be printed, "
        "got ('\\x1b[2J',)",
    ),
    (
        good(outputs="CDS"),
        "config.outputs must be a list of texts, got 'CDS'",
    ),
    (good(head="mlp"), "config.head must be one of tied, free, none, got 'mlp'"),
    (good(head=["tied"]), "config.head must be one of tied, free, none, got ['tied']"),
    (good(filters={}), "config: filters must be a list, got {}"),
    (good(filters=[]), "config: filters must be 1 to `layers` filters, got 0"),
    (
        good(filters=[one()["filters"][0]] * 3),
        "config: filters must be 1 to `layers` filters, got 3",
    ),
    (good(filters=["implicit"]), "config: a filter must be an object, got 'implicit'"),
    (
        one("os.system"),
        "config: filter.family must be one of implicit, sgconv, squash, modal, "
        "explicit, got 'os.system'",
    ),
    (
        good(filters=[{"family": ["x"]}]),
        "config: filter.family must be one of implicit, sgconv, squash, modal, "
        "explicit, got ['x']",
    ),
    (good(filters=[{"family": "modal"}]), "filter: taps is missing"),
    (
        one("modal", decay=1.0),
        "filter: unknown key 'decay' (known: taps, right, modes)",
    ),
    (one(taps=0), "config: filter.taps must be 1 to 16777216, got 0"),
    (one(taps=1 << 25), "config: filter.taps must be 1 to 16777216, got 33554432"),
    (one(taps="16"), "filter.taps must be a whole number, got '16'"),
    (
        one(right=16),
        "config: filter.right must be at least 0 and below filter.taps, got 16",
    ),
    (
        one(right=-1),
        "config: filter.right must be at least 0 and below filter.taps, got -1",
    ),
    (
        one(l_max=15),
        "config: filter.l_max must be 0 or at least the 16 taps of one side, got 15",
    ),
    (
        one(l_max=8, right=5),
        "config: filter.l_max must be 0 or at least the 11 taps of one side, got 8",
    ),
    (one(l_max=1 << 25), "config: filter.l_max must be 0 to 16777216, got 33554432"),
    (one(emb_dim=4), "config: filter.emb_dim must be odd, 3 to 65, got 4"),
    (one(width=0), "config: filter.width must be 1 to 4096, got 0"),
    (one(frequency=0), "config: filter.frequency must be positive, got 0"),
    (one(fast_decay=-0.3), "config: filter.fast_decay must be positive, got -0.3"),
    (one(slow_decay=math.inf), "filter.slow_decay must be a finite number, got inf"),
    (one(shift=math.nan), "filter.shift must be a finite number, got nan"),
    (one(shift=10**400), f"filter.shift must be a finite number, got 1{'0' * 59}…"),
    (
        one("sgconv", scale_taps=0),
        "config: filter.scale_taps must be at least 1, got 0",
    ),
    (one("sgconv", decay=0), "config: filter.decay must be in (0, 1], got 0"),
    (one("squash", squash=-1), "config: filter.squash must be not negative, got -1"),
    (one("squash", dropout=1.0), "config: filter.dropout must be in [0, 1), got 1.0"),
    (one("modal", modes=0), "config: filter.modes must be 1 to 1024, got 0"),
    (one("explicit", decay=-1), "config: filter.decay must be not negative, got -1"),
    (
        good(width=65536, layers=1024),
        "config: 52,782,607,368,192 parameters of width, layers and filters, "
        "at most 2,000,000,000 are allowed",
    ),
    (
        one("squash", taps=1 << 24) | {"width": 4096},
        "config: 137,841,848,320 parameters of width, layers and filters, at "
        "most 2,000,000,000 are allowed",
    ),
    (good(width="x" * 10**6), f"config.width must be a whole number, got '{'x' * 59}…"),
]


@pytest.mark.parametrize(
    ("values", "message"), REFUSALS, ids=[message[:60] for _, message in REFUSALS]
)
def test_refusals(values: Any, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        from_dict(values)
    assert str(caught.value) == message
    assert caught.value.exit_code == 78


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = [field.name for field in dataclasses.fields(ModelConfig)]
FILTER_FIELDS = [
    "family",
    *(field.name for field in dataclasses.fields(ImplicitFilter)),
]


@given(
    st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=3),
    st.dictionaries(st.sampled_from(FILTER_FIELDS), json_values, max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_any_json_is_a_model_or_an_error(
    changes: dict[str, Any], filter_changes: dict[str, Any]
) -> None:
    values = one(**filter_changes) if "family" not in filter_changes else good()
    try:
        config = from_dict({**values, **changes})
    except ModelError:
        return
    assert from_dict(to_dict(config)) == config

"""The gate: numbers in, verdict out."""

import math
from dataclasses import replace

import pytest

from weir.contracts.manifest import Parity
from weir_training.gate import Measured, judge, parity
from weir_training.recipe import ExportPart

GOOD = Measured(
    max_abs=1e-5,
    argmax_agreement=0.99,
    mean_kl=0.001,
    nll=1.0,
    nll_reference=1.0,
    greedy_equal=True,
    exact_match=0.95,
    exact_match_reference=0.95,
    bytes=1000,
)
EXPORT = ExportPart()


@pytest.mark.parametrize("flavour", ["cpu-fp32", "cpu-w8a8", "cpu-int8", "cpu-int4"])
def test_good_numbers_pass(flavour: str) -> None:
    assert judge(flavour, GOOD, EXPORT) == ()


def test_fp32_is_held_to_logits_and_greedy_tokens() -> None:
    reasons = judge("cpu-fp32", replace(GOOD, max_abs=0.5, greedy_equal=False), EXPORT)

    assert reasons == ("max abs 0.5000 > 1.0e-04", "32 greedy tokens differ from the checkpoint's")


def test_a_quantised_flavour_is_never_judged_by_max_abs_or_greedy_equality() -> None:
    assert judge("cpu-int4", replace(GOOD, max_abs=9.0, greedy_equal=False), EXPORT) == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mean_kl": 0.0412}, "mean KL 0.0412 > 0.0300"),
        ({"argmax_agreement": 0.9}, "argmax agreement 0.9000 < 0.9300"),
        ({"nll": 1.06}, "NLL rise 0.0600 > 0.0500"),
        ({"exact_match": 0.9}, "exact match drop 0.0500 > 0.0200"),
    ],
)
def test_each_failing_number_is_named_with_its_limit(change: dict[str, float], reason: str) -> None:
    assert judge("cpu-int4", replace(GOOD, **change), EXPORT) == (reason,)


def test_int8_is_held_closer_than_int4() -> None:
    between = replace(GOOD, mean_kl=0.02)

    assert judge("cpu-int4", between, EXPORT) == ()
    assert judge("cpu-int8", between, EXPORT) == ("mean KL 0.0200 > 0.0100",)


def test_a_number_at_its_limit_passes() -> None:
    at_the_limit = replace(GOOD, mean_kl=0.01, argmax_agreement=0.95, exact_match=0.98, exact_match_reference=1.0)

    assert judge("cpu-int8", at_the_limit, EXPORT) == ()


def test_answering_better_than_the_checkpoint_is_no_fault() -> None:
    assert judge("cpu-int8", replace(GOOD, nll=0.5, exact_match=1.0), EXPORT) == ()


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_graph_that_gives_no_numbers_fails_and_its_record_is_still_json(broken: float) -> None:
    record = parity("cpu-int8", replace(GOOD, max_abs=broken, mean_kl=broken, nll=broken), EXPORT)

    assert not record.passed
    assert len(record.reasons) == 2
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_a_record_says_what_a_cut_vocabulary_cost() -> None:
    record = parity("cpu-packed4", replace(GOOD, lost_mass=0.001, kept_tokens=700, heldout_cut=3), EXPORT)

    assert (record.lost_mass, record.kept_tokens, record.heldout_cut) == (0.001, 700, 3)
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_a_record_from_before_vocabularies_were_cut_still_loads() -> None:
    known = parity("cpu-int8", GOOD, EXPORT).model_dump()
    for name in ("lost_mass", "kept_tokens", "heldout_cut"):
        del known[name]
    record = Parity.model_validate(known)

    assert (record.lost_mass, record.kept_tokens, record.heldout_cut) == (0.0, None, None)


def test_bounds_come_from_the_recipe() -> None:
    strict = ExportPart.model_validate({"int8": {"kl": 0.0001, "argmax": 0.999}})

    assert judge("cpu-int8", GOOD, strict) == ("mean KL 0.0010 > 1.0e-04", "argmax agreement 0.9900 < 0.9990")

"""Providers are chosen by trying, and each rejected one is kept with its reason."""

from __future__ import annotations

import logging

import pytest

from tensorgrad.errors import DeviceError
from tensorgrad.kernels import providers


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_choices", {})
    monkeypatch.setattr(providers, "_chosen", {})
    monkeypatch.setattr(providers, "_fallbacks", {})


def missing() -> str:
    raise ImportError("no module named quick")


def wrong() -> str:
    raise ArithmeticError


def works() -> str:
    return "slow but there"


def test_the_first_that_works_is_taken_and_the_reasons_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    candidates = [("quick", missing), ("other", wrong), ("slow", works), ("never", wrong)]
    with caplog.at_level(logging.WARNING, "tensorgrad"):
        assert providers.choose("attention", candidates) == "slow but there"
    rejected = (("quick", "ImportError: no module named quick"), ("other", "ArithmeticError"))
    assert providers.choices() == (providers.Choice("attention", "slow", rejected),)
    assert providers.choose("attention", [("other", wrong)]) == "slow but there"  # once and for all
    assert caplog.messages == [
        "attention by slow: quick (ImportError: no module named quick); other (ArithmeticError)",
    ]


def test_the_preferred_one_is_chosen_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    with providers.requiring_fast():
        assert providers.choose("gemm", [("slow", works), ("quick", missing)]) == "slow but there"
    assert providers.choices() == (providers.Choice("gemm", "slow", ()),)
    assert not caplog.messages


def test_none_that_works_is_an_error() -> None:
    with pytest.raises(DeviceError, match=r"gemm: expected one of quick, other to work, got quick \(ImportError.*"):
        providers.choose("gemm", [("quick", missing), ("other", wrong)])
    assert providers.choices() == ()


def test_a_kind_of_call_that_falls_back_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        providers.fell_back("attention", "unfused", "a mask")
    providers.fell_back("attention", "unfused", "dropout")
    assert caplog.messages == ["attention by unfused: a mask", "attention by unfused: dropout"]
    assert [fallback.reason for fallback in providers.fallbacks()] == ["a mask", "dropout"]
    providers.forget()
    assert providers.fallbacks() == ()


def test_what_a_probe_falls_back_to_is_no_call_of_the_program_s(caplog: pytest.LogCaptureFixture) -> None:
    def trying_a_call() -> str:
        providers.fell_back("gemm", "cublasLt and another pass", "no bias")
        return "works"

    with providers.requiring_fast():
        assert providers.choose("gemm", [("cublasLt", trying_a_call)]) == "works"
    assert not caplog.messages
    assert providers.fallbacks() == ()


def test_where_speed_is_required_falling_back_is_an_error() -> None:
    assert providers.choose("kernels", [("slow", works)]) == "slow but there"  # a single candidate has no faster one
    with providers.requiring_fast():
        with pytest.raises(DeviceError, match=r"gemm: expected quick, as the fast provider is required, got slow"):
            providers.choose("gemm", [("quick", missing), ("slow", works)])
        with pytest.raises(DeviceError, match=r"attention: expected a faster one, .* got unfused, as a mask"):
            providers.fell_back("attention", "unfused", "a mask")
    providers.fell_back("attention", "unfused", "a mask")  # and outside of it is not
    with pytest.raises(DeviceError, match="gemm: expected quick"), providers.requiring_fast():
        raise AssertionError("the earlier choice is to be refused")

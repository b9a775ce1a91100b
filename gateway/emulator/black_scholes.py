"""The price of a European option and its sensitivities, by Black and Scholes; no dividends.

Source: Hull, "Options, Futures, and Other Derivatives", chapters on the Black-Scholes-Merton model and the Greeks.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, exp, log, pi, sqrt
from typing import Final

from gateway.domain.models.market_data import Greeks

DAYS_PER_YEAR: Final = 365.0
_PERCENT: Final = 100.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What a price depends on, beside the underlying's.

    Attributes:
        years: To expiration; must be more than 0.
        volatility: Per year, 0.25 is 25 %.
        rate: Riskless interest per year, continuously compounded.
    """

    is_call: bool
    strike_price: float
    years: float
    volatility: float
    rate: float


def price_of(terms: Terms, spot: float) -> float:
    """US dollars per share."""
    d1, d2 = _distances(terms, spot)
    sign = 1.0 if terms.is_call else -1.0
    return sign * (spot * _cumulative(sign * d1) - _discounted(terms) * _cumulative(sign * d2))


def greeks_of(terms: Terms, spot: float) -> Greeks:
    """The sensitivities, in the units of `Greeks`."""
    d1, d2 = _distances(terms, spot)
    sign = 1.0 if terms.is_call else -1.0
    density, root = exp(-d1 * d1 / 2) / sqrt(2 * pi), sqrt(terms.years)
    held = sign * _discounted(terms) * _cumulative(sign * d2)
    theta = -spot * density * terms.volatility / (2 * root) - terms.rate * held
    return Greeks(
        delta=sign * _cumulative(sign * d1),
        gamma=density / (spot * terms.volatility * root),
        theta=theta / DAYS_PER_YEAR,
        vega=spot * density * root / _PERCENT,
        rho=terms.years * held / _PERCENT,
    )


def _distances(terms: Terms, spot: float) -> tuple[float, float]:
    spread = terms.volatility * sqrt(terms.years)
    d1 = (log(spot / terms.strike_price) + (terms.rate + terms.volatility**2 / 2) * terms.years) / spread
    return d1, d1 - spread


def _discounted(terms: Terms) -> float:
    return terms.strike_price * exp(-terms.rate * terms.years)


def _cumulative(x: float) -> float:
    """Of the standard normal distribution."""
    return (1.0 + erf(x / sqrt(2.0))) / 2.0

"""The traits of a synthetic person's voice, drawn from sex, age and body size.

`TIES` holds the strengths of the ties and the noise beside them. All were chosen before any
training and are not tuned to results. The ties are invented: they resemble those of real people,
and prove nothing about them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# With y = years, a = (y - 18) / 62 in 0..1, s = size in standard deviations within a sex and each
# n = an independent standard normal draw:
#   F0 = table(sex, y) exp(f0_size s + f0_noise(sex) n)          formants = exp(... s + ... n)
#   breath = breath_least + breath_age a^p exp(breath_noise n)    jitter likewise
#   tremor = tremor_age a^2 exp(tremor_noise n)
#   rate = exp(rate_young + rate_age a + rate_noise n)            tilt = tilt_age a + tilt_noise n
# The base voice is drawn evenly from those of the sex, independently of everything else.
TIES: dict[str, float | tuple[float, ...]] = {
    "youngest": 18.0,  # years at which a = 0
    "span": 62.0,  # years from a = 0 to a = 1
    "f0_years": (18.0, 30.0, 50.0, 65.0, 80.0),
    "f0_male": (124.0, 116.0, 110.0, 114.0, 128.0),  # Hz, at those years
    "f0_female": (222.0, 212.0, 196.0, 186.0, 180.0),  # Hz
    "f0_size": -0.03,
    "f0_noise_male": 0.19,  # the sexes overlap between 140 and 185 Hz, as in life
    "f0_noise_female": 0.15,
    "formants_size": -0.028,
    "formants_noise": 0.036,
    "age_power": 1.3,  # p, of breath and jitter
    "breath_least": 0.02,
    "breath_age": 0.30,
    "breath_noise": 0.25,
    "breath_most": 0.6,
    "jitter_least": 0.004,
    "jitter_age": 0.022,
    "jitter_noise": 0.3,
    "tremor_age": 0.03,
    "tremor_power": 2.0,
    "tremor_noise": 0.4,
    "tremor_hz": (4.0, 6.0),  # drawn evenly
    "rate_young": 0.06,
    "rate_age": -0.18,
    "rate_noise": 0.07,
    "tilt_age": -0.45,
    "tilt_noise": 0.25,
}


@dataclass(frozen=True)
class Voice:
    """The traits of one voice.

    `base` is the base voice in the bank; `f0` the median fundamental frequency in Hz; `alpha` the
    factor on all formant frequencies; `tilt` is added to the log power spectrum as 6 tilt f /
    8 kHz (26 dB at 8 kHz for 1); `breath` is added to the aperiodicity at 8 kHz (0..1);
    `jitter` the standard deviation of log F0 from one 5 ms frame to the next; `tremor` the depth
    of a slow wave in log F0, and `tremor_hz` its frequency; `rate` the factor on the speed.
    """

    base: str
    f0: float
    alpha: float
    tilt: float
    breath: float
    jitter: float
    tremor: float
    tremor_hz: float
    rate: float


def sample_voice(
    rng: np.random.Generator, male: bool, years: float, size: float, bank_voices: Sequence[str]
) -> Voice:
    """Draw a voice; `size` in standard deviations, `bank_voices` those of the sex and group."""
    base = bank_voices[int(rng.integers(len(bank_voices)))]
    age = min(max((years - number("youngest")) / number("span"), 0.0), 1.0)
    chance = [float(n) for n in rng.normal(size=7)]
    grown = age ** number("age_power")
    breath = number("breath_age") * grown * math.exp(number("breath_noise") * chance[2])
    jitter = number("jitter_age") * grown * math.exp(number("jitter_noise") * chance[3])
    tremor = age ** number("tremor_power") * math.exp(number("tremor_noise") * chance[4])
    sex = "male" if male else "female"
    usual = np.interp(years, table("f0_years"), table(f"f0_{sex}"))
    pace = number("rate_young") + number("rate_age") * age + number("rate_noise") * chance[5]
    slowest, fastest = table("tremor_hz")
    return Voice(
        base=base,
        f0=float(usual) * tied("f0_size", size, f"f0_noise_{sex}", chance[0]),
        alpha=tied("formants_size", size, "formants_noise", chance[1]),
        tilt=number("tilt_age") * age + number("tilt_noise") * chance[6],
        breath=min(number("breath_least") + breath, number("breath_most")),
        jitter=number("jitter_least") + jitter,
        tremor=number("tremor_age") * tremor,
        tremor_hz=float(rng.uniform(slowest, fastest)),
        rate=math.exp(pace),
    )


def tied(share: str, size: float, noise: str, chance: float) -> float:
    """Return the factor on a trait by body size and chance, from the names of two ties."""
    return math.exp(number(share) * size + number(noise) * chance)


def number(name: str) -> float:
    """Return a tie that is one number."""
    value = TIES[name]
    assert isinstance(value, float)
    return value


def table(name: str) -> tuple[float, ...]:
    """Return a tie that is several numbers."""
    value = TIES[name]
    assert isinstance(value, tuple)
    return value

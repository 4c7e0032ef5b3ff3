"""Cycles as time."""

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.estimate.speed import Speed, digits


def test_cycles_become_milliseconds_and_pictures_a_second():
    speed = Speed(4_000_000, 1, 400)
    assert (speed.milliseconds, speed.pictures_per_second) == (10, 100)
    assert str(speed) == "10.000 ms a frame, 100.0 pictures/s at 400 MHz"


def test_the_pictures_of_a_frame_share_its_time():
    speed = Speed(4_000_000, 4, 100)
    assert (speed.milliseconds, speed.pictures_per_second) == (40, 100)
    assert str(speed) == "40.000 ms a frame for 4 pictures, 100.0 pictures/s at 100 MHz"


@pytest.mark.parametrize("clock", [0, -1, float("nan"), float("inf"), 10_001])
def test_a_clock_that_is_none_is_refused(clock):
    with pytest.raises(InputError, match=f"clock {clock:g} MHz; allowed: above 0, at most 10,000"):
        Speed(1, 1, clock)


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (0.00012345, "0.000123"), (0.5, "0.500"), (10.94, "10.9"), (636.2, "636"), (1781.6, "1,782"),
])
def test_rough_figures_have_three_digits_and_no_exponent(value, text):
    assert digits(value) == text

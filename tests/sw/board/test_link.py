"""Frames survive any division of the stream, and no disturbed one is taken for a right one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.link import ESCAPE, FLAG, Answer, Kind, LinkConfig, Unescaper, escaped

BYTES = (0, 1, 0x5D, 0x5E, ESCAPE, FLAG, 255)
CONTENT = st.lists(st.sampled_from(BYTES), min_size=1, max_size=40).map(bytes)


def test_a_frame_by_hand():
    frame = escaped(b"\x7e")
    assert frame[0] == frame[-1] == FLAG
    assert frame[1:3] == bytes((ESCAPE, 0x5E))
    assert FLAG not in frame[1:-1]


def test_the_crc_is_that_of_the_published_check_value():
    # "123456789" -> 0xCBF43926, the check value of CRC-32 in every catalogue.
    assert escaped(b"123456789") == b"\x7e123456789\x26\x39\xf4\xcb\x7e"


@given(contents=st.lists(CONTENT, min_size=1, max_size=6), size=st.integers(1, 50),
       noise=st.binary(max_size=9))
def test_frames_arrive_whatever_the_pieces_and_what_came_before(contents, size, noise):
    stream = noise + b"".join(map(escaped, contents))
    receiver = Unescaper()
    pieces = (stream[at : at + size] for at in range(0, len(stream), size))
    found = [content for piece in pieces for content in receiver.contents(piece)]
    assert found[-len(contents) :] == contents


@given(content=CONTENT, at=st.integers(0, 200), change=st.integers(1, 255),
       kind=st.sampled_from(["change", "lose", "double"]))
def test_a_disturbed_frame_is_not_taken_for_another(content, at, change, kind):
    """One byte: CRC-32 finds every burst of up to 32 bits; a lost or doubled one changes the length."""
    frame = bytearray(escaped(content))
    at %= len(frame)
    if kind == "change":
        frame[at] ^= change
    elif kind == "lose":
        del frame[at]
    else:
        frame.insert(at, frame[at])
    found = Unescaper().contents(bytes((FLAG, *frame, FLAG)))
    assert found in ([], [content])


@given(st.builds(
    Answer, st.integers(0, 255), st.sampled_from(Kind), st.integers(0, 7), st.integers(0, 65535),
    st.integers(0, 2048), st.integers(0, 65535), st.integers(0, 2**32 - 1), st.binary(max_size=257),
))  # fmt: skip
def test_an_answer_is_read_as_it_was_written(answer):
    assert Answer.of(answer.content) == answer


@pytest.mark.parametrize("content", [
    b"", b"\x01", bytes(12), bytes(13), b"\x01\x02" + bytes(11), b"\x01\x88" + bytes(11),
])
def test_what_is_no_answer(content):
    assert Answer.of(content) is None


@pytest.mark.parametrize(("clock", "baud"), [(50_000_000, 20_000_000), (50_000_000, 300)])
def test_a_rate_that_the_clock_cannot_give_is_refused(clock, baud):
    with pytest.raises(InputError, match="allowed: 4 to 65,536 cycles a bit"):
        LinkConfig(clock, baud)

"""The host's side against a model of the board, over a line that loses, doubles and changes bytes."""

import random
import time

import pytest

from kestrel.hw.spec.link import PAYLOAD_MAX, Kind, State, escaped
from kestrel.sw.board.connection import Connection, LinkError
from kestrel.sw.board.line import LineLostError
from kestrel.sw.board.remote import RemoteBoard
from kestrel.sw.driver.chip import BoardFault
from kestrel.verif.blocks.board.host_bridge.model import END, GIVEN_UP, HostBridge

FAULTY = 0xC00


class ModelLine:
    """A board's model at the other end. The chip takes ``pace`` bytes of the image each time it is looked at;
    behind an image's end come ``packets``, and the interrupt."""

    def __init__(self, seed, noise=0.0, pace=300, packets=((b"answer", END),)):
        self.random, self.noise, self.pace, self.packets = random.Random(seed), noise, pace, packets
        self.board = HostBridge(bytes(2048), FAULTY)
        self.image = bytearray()
        self.images = []
        self.waiting = b""
        self.lost = False
        self.silent = False
        self.unheard = 0  # answers that do not arrive
        self.entries = []

    def disturbed(self, data):
        out = bytearray()
        for byte in data:
            kind = self.random.randrange(3) if self.random.random() < self.noise else 3
            if kind == 1:
                out.append(byte)
            if kind:
                out.append(byte ^ (1 + self.random.randrange(255)) if kind == 2 else byte)
        return bytes(out)

    def write(self, data):
        if self.lost:
            raise LineLostError("gone")
        if self.silent:
            return
        for answer in self.board.hears(self.disturbed(data)):
            if self.unheard:
                self.unheard -= 1
            else:
                self.waiting += self.disturbed(escaped(answer.content))
        if not self.board.accepted:
            self.image.clear()
            self.entries.clear()
        for _ in range(min(self.pace, self.board.accepted - self.board.consumed)):
            byte = self.board.took()
            self.image.append(byte if byte >= 0 else END - byte)
            if byte < 0:
                self.images.append(bytes(self.image))
                self.image.clear()
                self.entries += [entry for data, end in self.packets for entry in (*data, end)]
        # As much as the ring has room for.
        room = 2048 - (len(self.board.entries) - self.board.released)
        self.board.entries += self.entries[:room]
        del self.entries[:room]
        self.board.irq = int(bool(self.images) and not self.entries)

    def read(self, seconds):
        if self.lost:
            raise LineLostError("gone")
        if not self.waiting:
            time.sleep(min(seconds, 0.001))
        data, self.waiting = self.waiting, b""
        return data

    def close(self):
        pass


def connected(line, patience=20.0):
    connection = Connection(line, patience)
    connection.synchronise()
    return RemoteBoard(connection)


def test_registers(seed):
    board = connected(ModelLine(seed))
    board.write(0x20, 0xDEADBEEF)
    assert board.read(0x20) == 0xDEADBEEF
    with pytest.raises(BoardFault, match="read of 0xc00: the bus answered with an error"):
        board.read(0xC00)
    with pytest.raises(BoardFault, match="write of 0xffc"):
        board.write(0xFFC, 1)


@pytest.mark.parametrize("size", [1, PAYLOAD_MAX, PAYLOAD_MAX + 1, 70_000])
def test_an_image_arrives_whole_and_its_packet_comes_back(size, seed):
    line = ModelLine(seed)
    board = connected(line)
    image = random.Random(seed).randbytes(size)
    board.send(image)
    board.wait()
    assert line.images == [image]
    assert board.receive() == b"answer"


def test_a_packet_that_was_given_up_is_dropped(seed):
    board = connected(ModelLine(seed, packets=((b"half", GIVEN_UP), (bytes(3000), END))))
    board.send(b"image")
    board.wait()
    assert board.receive() == bytes(3000)


def test_nothing_is_lost_doubled_or_changed_by_a_bad_line(seed):
    line = ModelLine(seed, noise=0.002)
    board = connected(line)
    image = random.Random(seed).randbytes(20_000)
    for number in range(2):
        board.write(0x20, number)
        assert board.read(0x20) == number
        board.send(image)
        board.wait()
        assert board.receive() == b"answer"
        line.images, line.board.irq = line.images[-1:], 0
        assert line.images == [image]
        line.images.clear()


def test_a_write_is_carried_out_once_however_often_it_is_sent(seed, monkeypatch):
    line = ModelLine(seed)
    connection = Connection(line, 20.0)
    connection.synchronise()
    asked = []
    carried_out = []
    real = line.board._write

    def write(tag, where, number):
        before = line.board.last_write
        fault = real(tag, where, number)
        asked.append(tag)
        if line.board.last_write is not before:
            carried_out.append(tag)
        return fault

    monkeypatch.setattr(line.board, "_write", write)
    line.unheard = 2
    connection.ask(Kind.WRITE, 0x20, bytes(4))
    assert len(asked) == 3
    assert carried_out == asked[:1]
    assert connection.counts.repeated == 2


def test_cancel_throws_away_what_came_out(seed):
    line = ModelLine(seed)
    board = connected(line)
    line.board.entries += [1, 2, 3, END, 4, 5]
    board.cancel()
    assert line.board.released >= 4
    line.images.clear()
    board.send(b"image")
    board.wait()
    assert board.receive() == b"answer"


def test_a_silent_board_and_a_line_that_is_gone(seed):
    line = ModelLine(seed)
    board = connected(line, patience=0.3)
    line.silent = True
    with pytest.raises(BoardFault, match=r"no answer to READ within 0\.3 s"):
        board.read(0)
    line.silent, line.lost = False, True
    with pytest.raises(BoardFault, match="gone"):
        board.read(0)
    line.lost, line.silent = False, True
    with pytest.raises(LinkError, match=r"no answer within 0\.3 s"):
        connected(line, patience=0.3)


def test_a_chip_that_does_not_move_is_given_up(seed):
    line = ModelLine(seed, pace=0)
    board = connected(line, patience=0.3)
    board.send(bytes(5000))
    with pytest.raises(BoardFault, match=r"nothing has moved for 0\.3 s"):
        board.wait()
    assert not line.board.irq & State.IRQ

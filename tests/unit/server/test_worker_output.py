"""What workers print: real pipes, read within limits, into the log."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from gymtwist.server.worker_output import LINE_RATE, LOG_RATE, READ_RATE, OutputReader
from tests.support.harness import Log, SteppedReactor, descriptor_count


class Printing:
    """A pipe with a reader at one end; the test prints into the other."""

    def __init__(self) -> None:
        """Open it."""
        self.before = descriptor_count()
        self.log = Log()
        self.reactor = SteppedReactor()
        reader, self.end = os.pipe()
        os.set_blocking(self.end, False)
        self.output = OutputReader(self.reactor, reader, "session 3")

    def write(self, data: bytes) -> int:
        """Print as much as the pipe takes; return how much that is."""
        written = 0
        while written < len(data):
            try:
                written += os.write(self.end, data[written : written + 65536])
            except BlockingIOError:
                break
        return written

    def pump(self, data: bytes) -> int:
        """Print, and let the reader read, until it stops; return how much it took."""
        total = 0
        while count := self.write(data[total:]):
            total += count
            self.reactor.turn(20)
        return total

    @property
    def texts(self) -> list[str]:
        """What was logged, without the source."""
        return [line.removeprefix("[session 3] | ") for line in self.log.lines]


@pytest.fixture
def printing() -> Iterator[Printing]:
    """A pipe; at the end nothing of it is left."""
    printing = Printing()
    yield printing
    if printing.end >= 0:
        os.close(printing.end)
    printing.output.close()
    printing.reactor.advance(0)
    assert not printing.reactor.getDelayedCalls()
    printing.reactor.close()
    printing.log.close()
    del printing.reactor
    assert descriptor_count() <= printing.before + 4  # the reactor's own waker


def test_every_line_is_a_line_of_the_log(printing: Printing) -> None:
    """With its source before it; the ends of lines are of either kind."""
    printing.write(b"one\ntwo\r\n\n")
    printing.reactor.turn()
    assert printing.log.lines == ["[session 3] | one", "[session 3] | two", "[session 3] | "]


def test_a_line_may_come_in_pieces(printing: Printing) -> None:
    """It is logged when it is whole."""
    printing.write(b"hal")
    printing.reactor.turn()
    assert not printing.texts
    printing.write(b"f\n")
    printing.reactor.turn()
    assert printing.texts == ["half"]


def test_a_line_without_an_end_is_logged_at_the_end(printing: Printing) -> None:
    """A process that crashes does not end its line."""
    printing.write(b"last words")
    printing.output.close()
    assert printing.texts == ["last words"]


def test_the_source_may_change(printing: Printing) -> None:
    """An idle process becomes a session."""
    printing.output.source = "session 4"
    printing.write(b"hello\n")
    printing.reactor.turn()
    assert printing.log.lines == ["[session 4] | hello"]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_long_line_is_cut_and_nothing_of_it_is_lost(printing: Printing, end: bytes) -> None:
    """Whether it comes at once or in pieces."""
    line = bytes(range(48, 91)) * 300
    printing.write(line + end)
    printing.reactor.turn(10)
    printing.output.close()
    assert "".join(printing.texts).encode() == line
    assert max(map(len, printing.texts)) == 4096


def test_invalid_utf8_is_shown(printing: Printing) -> None:
    """Nothing that is printed makes the log fail."""
    printing.write(b"\xff\xfe caf\xc3\xa9 {braces} %s\n")
    printing.reactor.turn()
    assert printing.texts == ["\\xff\\xfe café {braces} %s"]


def test_output_beyond_the_limit_of_the_log_is_counted(printing: Printing) -> None:
    """One line tells how much was left out; the next second has its own allowance."""
    line = b"x" * 99 + b"\n"
    printing.pump(line * 2000)
    assert len(printing.texts) == LOG_RATE // 100
    printing.reactor.advance(1.0)
    left_out = 200_000 - LOG_RATE // 100 * 100
    assert printing.texts[-1] == f"({left_out} bytes more were printed and not logged)"
    printing.pump(b"next\n")
    assert printing.texts[-1] == "next"


@pytest.mark.parametrize("line", [b"\n", b"x\n"])
def test_short_lines_are_limited_by_their_number(printing: Printing, line: bytes) -> None:
    """Each takes the server's time; what is left out is counted all the same."""
    printing.pump(line * 100_000)
    assert len(printing.texts) == LINE_RATE
    printing.reactor.advance(1.0)
    left_out = (100_000 - LINE_RATE) * len(line)
    assert printing.texts[-1] == f"({left_out} bytes more were printed and not logged)"


@pytest.mark.parametrize("text", ["\x1b[2J", "\x85", "\u2028", "\u202e", "\u2066"])
def test_what_a_terminal_would_obey_is_shown(printing: Printing, text: str) -> None:
    """Separators of lines and changes of direction among it."""
    printing.write(f"a{text}b\n".encode())
    printing.reactor.turn()
    assert printing.texts[0].isascii()
    assert printing.texts[0].isprintable()


def test_a_process_that_prints_too_fast_is_made_to_wait(printing: Printing) -> None:
    """Its pipe is full until the next second; the server reads no more than it wants to."""
    flood = b"y" * 99 + b"\n"
    data = flood * (3 * READ_RATE // 100)
    first = printing.pump(data)
    assert READ_RATE <= first < READ_RATE + 200_000
    printing.reactor.advance(1.0)
    assert printing.pump(data) > READ_RATE - 200_000


def test_drain_logs_the_rest_of_the_pipe(printing: Printing) -> None:
    """Without a turn of the reactor, and without waiting for more."""
    printing.write(b"before the summary\n")
    printing.output.drain()
    assert printing.texts == ["before the summary"]
    printing.output.drain()


def test_drain_of_a_full_pipe_logs_all_of_it(printing: Printing) -> None:
    """A traceback behind much text is not lost."""
    printing.write(b"z" * 200 + b"\n" + b"end of the traceback\n")
    printing.output.drain()
    assert printing.texts[-1] == "end of the traceback"


def test_the_end_of_the_pipe_closes_the_reader(printing: Printing) -> None:
    """Its descriptor, too; closing it again does nothing."""
    before = descriptor_count()
    printing.write(b"rest")
    os.close(printing.end)
    printing.end = -1
    printing.reactor.turn()
    assert printing.texts == ["rest"]
    assert descriptor_count() == before - 2
    printing.output.close()
    printing.output.drain()


def test_a_reader_may_be_closed_while_its_pipe_is_held(printing: Printing) -> None:
    """By a process that was left behind, for instance; it gets a broken pipe.

    Not in the same turn of the reactor: an event that is still to come in it would be another's that got the number.
    """
    printing.output.close()
    os.write(printing.end, b"not closed before the next turn")
    printing.reactor.advance(0)
    with pytest.raises(BrokenPipeError):
        os.write(printing.end, b"more")


def test_a_reader_that_waits_for_the_next_second_can_be_closed(printing: Printing) -> None:
    """What lies in the pipe is read, and no timer is left."""
    printing.pump(b"y" * (READ_RATE + 500_000))
    printing.output.close()
    assert printing.texts[-1].endswith("bytes more were printed and not logged)")
    printing.reactor.advance(5.0)

"""What a file says reaches no terminal but as plain text of one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sb3_spiking.cli import console
from sb3_spiking.printable import printable

EVIL = [
    "\x1b[2J",
    "\x1b]0;t\x07",
    "\x9b31m",
    "\u202e",
    "\u2066",
    "\r\n",
    "\x00",
    "\x7f",
    "\u200b",
    "\ud800",
    "\u2028",
]


@pytest.mark.parametrize("evil", EVIL)
def test_control_characters_become_spaces(evil):
    shown = printable(f"a{evil}b")
    assert shown.isprintable()
    assert shown[0] == "a"
    assert shown[-1] == "b"


@given(st.text(), st.integers(0, 50))
def test_any_text_is_one_printable_line_of_limited_length(text, length):
    shown = printable(text, length)
    assert shown.isprintable()
    assert len(shown) <= length + 3


def test_plain_text_stays_as_it_is():
    assert printable("Größe 3 . 4, 大きさ") == "Größe 3 . 4, 大きさ"


@pytest.mark.parametrize("evil", EVIL)
def test_whatever_is_shown_is_cleaned(capsys, evil):
    console.out.quiet = console.err.quiet = False
    console.note(f"note {evil}")
    console.warn(f"warning {evil}")
    console.table(("name", "value"), [(f"name {evil}", f"[bold]{evil}")])
    console.listing(f"title {evil}", [(f"name {evil}", f"value {evil}")])
    printed = capsys.readouterr()
    for line in (printed.out + printed.err).splitlines():
        assert line.isprintable()
    assert "[bold]" in printed.out


def test_long_tables_and_lists_are_cut_and_say_so(capsys):
    console.out.quiet = False
    rows = [(str(index), "x") for index in range(console.MAX_ROWS + 7)]
    console.table(("name", "value"), rows)
    console.listing("title", rows)
    printed = capsys.readouterr().out
    assert printed.count("... and 7 more") == 2
    assert printed.count("\n") < 2 * console.MAX_ROWS + 10


def test_rows_keep_their_indentation(capsys):
    console.out.quiet = False
    console.table(("", "value"), [("whole", "1"), ("  part", "2")])
    assert "\n  part " in capsys.readouterr().out

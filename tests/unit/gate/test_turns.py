"""One thread computes at a time, and none keeps its turn while it waits for a network."""

from __future__ import annotations

import threading

import pytest

from modelpack.gate.turns import Turns


def test_a_turn_is_given_up_while_a_network_is_waited_for_and_taken_again() -> None:
    turns, waiting, had = Turns(1), threading.Event(), threading.Event()
    order: list[str] = []

    def other() -> None:
        assert waiting.wait(5)
        with turns.taken():
            order.append("other")
            had.set()

    thread = threading.Thread(target=other)
    thread.start()
    with turns.taken():
        order.append("one")
        with turns.given_up():
            waiting.set()
            assert had.wait(5)
        order.append("one again")
    thread.join(5)
    assert order == ["one", "other", "one again"]


def test_who_has_no_turn_gives_none_up_and_a_failure_keeps_none() -> None:
    turns = Turns(1)
    with turns.given_up():
        pass
    for context in (turns.taken, turns.taken):
        with pytest.raises(KeyError), context(), turns.given_up():
            raise KeyError
    with turns.taken():
        pass

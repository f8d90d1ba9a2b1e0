"""Streams of the tasks: what is read, where lanes start anew, and that no stream depends on how it is read."""

import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest

import rtrl
from rtrl import tasks

TEXT = np.arange(97) % 7
STREAMS = {
    "copy": lambda seed=0: tasks.Copy(3, seed),
    "anbn": lambda seed=0: tasks.Anbn(1, 6, 3, seed),
    "brackets": lambda seed=0: tasks.Brackets(2, 3, 4, 3, seed),
    "recall": lambda seed=0: tasks.Recall(3, 4, 3, seed),
    "recall without a gap": lambda seed=0: tasks.Recall(2, 0, 3, seed),
    "text": lambda seed=0: tasks.Text(TEXT, 7, 3, 10),
}


@pytest.fixture(params=STREAMS)
def make(request):
    return STREAMS[request.param]


def read(stream, steps, pieces=itertools.repeat(1), loss=lambda t: 0.05):
    """So many steps in pieces, with made-up losses: inputs, targets, resets [T, B]."""
    parts, done = [], 0
    while done < steps:
        part = stream.take(min(next(pieces), steps - done))
        count = len(part[0])
        stream.learned(np.array([loss(t) for t in range(done, done + count)]))
        parts.append(part)
        done += count
    return [np.concatenate(each) for each in zip(*parts)]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_shapes_and_ranges(make):
    stream = make()
    xs, ys, resets = read(stream, 500)
    assert xs.shape == ys.shape == resets.shape == (500, 3)
    assert resets.dtype == bool
    assert xs.min() >= 0
    assert xs.max() < stream.inputs
    assert ys.min() >= -1
    assert ys.max() < stream.readout.classes


def test_what_is_read_does_not_depend_on_how_much_is_read_at_once(make):
    one = read(make(), 3000)
    for size in (2, 7, 64, 3000):
        assert same(one, read(make(), 3000, itertools.repeat(size)))
    assert same(one, read(make(), 3000, iter(np.random.default_rng(1).integers(1, 100, 3000).tolist())))


def test_a_stream_goes_on_from_its_state(make):
    stream = make()
    whole = read(make(), 2000, itertools.repeat(9))
    first = read(stream, 801, itertools.repeat(9))
    other = make(7) if make is not STREAMS["text"] else make()
    other.restore(json.loads(json.dumps(stream.state())))
    rest = read(other, 1199, itertools.repeat(4))
    assert same(whole, [np.concatenate(pair) for pair in zip(first, rest)])


def test_iterating_gives_the_same_steps(make):
    steps = list(itertools.islice(make(), 30))
    xs, ys, resets = make().take(1)
    assert same((xs[0], ys[0], resets[0]), steps[0])
    # Iterating tells no losses; neither does this.
    stream = make()
    assert same([np.concatenate(each) for each in zip(*(stream.take(1) for _ in range(30)))], map(np.array, zip(*steps)))


@pytest.mark.parametrize("name", sorted(set(STREAMS) - {"text"}))
def test_lanes_and_seeds_are_independent(name):
    xs, _, _ = read(STREAMS[name](0), 600)
    assert not np.array_equal(xs[:, 0], xs[:, 1])
    other, _, _ = read(STREAMS[name](1), 600)
    assert not np.array_equal(xs, other)


def test_a_session_learns_a_stream():
    stream = tasks.Anbn(1, 3, 4, 0)
    network = rtrl.Network(rtrl.GRU(8), stream.inputs, stream.readout)
    session = rtrl.Session(network, rtrl.UORO(), rtrl.Adam(3e-3), batch_size=4)
    losses = session.run(*stream.take(2000))
    assert losses[-200:].mean() < 0.8 * losses[:200].mean()


# --- copy ---------------------------------------------------------------------------------------------------------------


def slow_copy(lanes, seed, steps, loss):
    """The definition, one step and one lane at a time: inputs, targets, resets, and the longest length at each step."""
    generators = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(lane,))) for lane in range(lanes)]
    strings = [[] for _ in range(lanes)]
    longest, mean, found = 1, 1.0, []
    for t in range(steps):
        row = []
        for lane in range(lanes):
            new = not strings[lane]
            if new:
                if mean < 0.15:
                    longest, mean = longest + 1, 0.3
                length = int(generators[lane].integers(max(longest - 4, 1), longest, endpoint=True))
                bits = generators[lane].integers(0, 2, length).tolist()
                strings[lane] = list(zip([2] + bits + [3] * (length + 1), [3] * (length + 1) + [2] + bits))
            row.append((*strings[lane].pop(0), new))
        found.append((*zip(*row), longest))
        mean = 0.999 * mean + 0.001 * (loss(t) / math.log(2))
    return [np.array(each) for each in zip(*found)]


@pytest.mark.parametrize(
    "loss", [lambda t: 0.0, lambda t: 0.05 + 0.04 * math.sin(t / 50), lambda t: 0.02 if t % 4000 < 3500 else 0.7]
)
def test_copy_is_its_definition(loss):
    xs, ys, resets, longest = slow_copy(3, 5, 12000, loss)
    assert longest[-1] > 4
    for size in (1, 50, 5000):
        stream = tasks.Copy(3, 5)
        assert same((xs, ys, resets), read(stream, 12000, itertools.repeat(size), loss))
        assert stream.longest in (longest[-1], longest[-1] + 1)


def test_copy_that_is_not_learned_stays_short():
    stream = tasks.Copy(2, 0)
    read(stream, 5000, loss=lambda t: 0.3)
    assert stream.longest == 1


# --- strings ------------------------------------------------------------------------------------------------------------


def strings_of(stream, count, end):
    """The first strings that a stream's only lane reads."""
    xs, ys, _ = read(stream, count)
    assert np.array_equal(xs[1:], ys[:-1])  # every target is the next input
    text = "".join(stream.vocabulary[i] for i in xs[:, 0])
    return [part + end for part in text.split(end)[:-1]]


def test_anbn_strings():
    text = "".join(strings_of(tasks.Anbn(2, 5), 3000, "\n"))
    parts = text.split("\n")[:-1]
    pairs = list(zip(parts[::2], parts[1::2]))
    assert all(a == "a" * len(a) and b == "b" * len(a) for a, b in pairs)
    assert {len(a) for a, _ in pairs} == {2, 3, 4, 5}


def test_brackets_strings():
    stream = tasks.Brackets(2, 3, 4)
    found = strings_of(stream, 3000, "\n")
    for string in found:
        assert len(string) == stream.length
        first, between, second = string[1:3], string[4:7], string[8:10]
        assert string == f"[{first}]{between}[{second}]\n"
        assert first == second
        assert set(first + between) <= set("abcd")
    assert len(set(found)) > 100
    # The targets of these places are the repeated letters.
    assert [string[place + 1] for string in found[:5] for place in stream.answers] == [c for s in found[:5] for c in s[1:3]]


def test_recall_strings():
    xs, ys, resets = read(tasks.Recall(3, 4), 6 * 400)
    xs, ys = xs.reshape(-1, 6), ys.reshape(-1, 6)
    assert set(xs[:, 0]) == {0, 1, 2}
    assert set(xs[:, 1:5].ravel()) == {3, 4, 5}
    assert set(xs[:, 5]) == {6}
    assert (ys[:, :5] == -1).all()
    assert np.array_equal(ys[:, 5], xs[:, 0])
    assert not resets.any()


def floor(strings):
    """Bits per character of one who knows the grammar, by counting: all strings are equally likely."""
    prefixes = Counter(string[:i] for string in strings for i in range(len(string) + 1))
    surprise = sum(math.log2(prefixes[s[:i]] / prefixes[s[: i + 1]]) for s in strings for i in range(len(s)))
    return surprise / sum(map(len, strings))


def test_floors_are_what_enumeration_gives():
    assert tasks.Anbn(2, 7).floor == pytest.approx(floor(["a" * k + "\n" + "b" * k + "\n" for k in range(2, 8)]))
    assert tasks.Anbn().floor == pytest.approx(0.1429, abs=1e-4)
    letters = ["".join(each) for each in itertools.product("abc", repeat=3)]
    assert tasks.Brackets(1, 2, 3).floor == pytest.approx(floor([f"[{s[0]}]{s[1:]}[{s[0]}]\n" for s in letters]))


# --- text ---------------------------------------------------------------------------------------------------------------


def test_text_lanes_and_resets():
    xs, ys, resets = read(tasks.Text(TEXT, 7, 4, 8), 200, itertools.repeat(13))
    for lane in range(4):
        places = (lane * 97 // 4 + np.arange(201)) % 97
        assert np.array_equal(xs[:, lane], TEXT[places[:-1]])
        # The last character has no next one: a lane goes on with the first.
        assert (ys[:, lane] == TEXT[places[1:]]).mean() > 0.95
    assert (resets.sum(1) <= 1).all()  # lanes take turns
    assert np.array_equal(resets.sum(0), [25] * 4)
    assert not read(tasks.Text(TEXT, 7, 4), 200)[2].any()


# --- wrong arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tasks.Copy(0), "batch_size"),
        (lambda: tasks.Copy(seed=-1), "seed"),
        (lambda: tasks.Anbn(3, 2), "high"),
        (lambda: tasks.Anbn(0), "low"),
        (lambda: tasks.Brackets(0), "s must"),
        (lambda: tasks.Brackets(a=27), "a must"),
        (lambda: tasks.Recall(1), "symbols"),
        (lambda: tasks.Recall(gap=-1), "gap"),
        (lambda: tasks.Text(TEXT, 7, 0), "batch_size"),
        (lambda: tasks.Text(TEXT, 7, 1, -1), "reset_every"),
        (lambda: tasks.Anbn().take(0), "steps"),
        (lambda: tasks.Anbn().take(2.5), "steps"),
        (lambda: tasks.Copy().take(0), "steps"),
        (lambda: tasks.Text(TEXT, 7).take(-1), "steps"),
    ],
)
def test_wrong_arguments_are_refused(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_a_refused_take_changes_nothing(make):
    stream = make()
    before = json.dumps(stream.state())
    with pytest.raises(ValueError, match="steps"):
        stream.take(0)
    assert json.dumps(stream.state()) == before

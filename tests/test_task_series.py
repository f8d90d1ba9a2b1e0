"""The Mackey-Glass series as a stream."""

import json

import numpy as np
import pytest

from rtrl.tasks import MackeyGlass
from rtrl.tasks.series import _DELAY, _PARTS
from rtrl.tasks.streams import generators


def test_it_obeys_its_equation():
    """Ten steps of Euler between neighbours, worked out anew from the samples of a path that is read at every step."""
    stream = MackeyGlass(seed=3, spacing=1, noise=0)
    path = np.array(stream._paths[0])
    xs, ys, resets = stream.take(30)
    for _ in range(30 * _PARTS):
        late = path[-1 - _DELAY]
        path = np.append(path, path[-1] + (0.2 * late / (1 + late**10) - 0.1 * path[-1]) / _PARTS)
    np.testing.assert_allclose(ys.ravel(), path[_DELAY + 1 :][_PARTS - 1 :: _PARTS], rtol=1e-12)
    np.testing.assert_array_equal(xs[1:], ys[:-1])
    assert not resets.any()


def test_it_stays_on_the_attractor_and_never_repeats():
    values = MackeyGlass(seed=1, noise=0).take(4000)[0].ravel()
    assert 0.2 < values.min() < 0.5 and 1.2 < values.max() < 1.4
    assert values.std() == pytest.approx(0.24, abs=0.02)
    assert len(np.unique(values)) == 4000


def test_noise_is_added_to_what_is_read_alone():
    clean, noisy = (MackeyGlass(seed=1, noise=noise).take(4000)[0].ravel() for noise in (0, 0.05))
    assert (noisy - clean).std() == pytest.approx(0.05, rel=0.05)


def test_pieces_and_checkpoints_change_nothing():
    whole = MackeyGlass(3, seed=5).take(50)
    stream = MackeyGlass(3, seed=5)
    first = stream.take(20)
    kept = json.loads(json.dumps(stream.state()))
    other = MackeyGlass(3, seed=6)
    other.restore(kept)
    for each in (stream, other):
        for begun, rest, expected in zip(first, each.take(30), whole):
            np.testing.assert_array_equal(np.concatenate([begun, rest]), expected)


def test_lanes_and_seeds_differ():
    first, second = (MackeyGlass(2, seed=seed).take(10)[0] for seed in (0, 1))
    assert not np.isclose(first[:, 0], first[:, 1]).any()
    assert not np.isclose(first, second).any()


@pytest.mark.parametrize(
    ("options", "error"), [({"spacing": 0}, ValueError), ({"noise": -1}, ValueError), ({"batch_size": 1.5}, TypeError)]
)
def test_wrong_arguments(options, error):
    with pytest.raises(error, match=next(iter(options))):
        MackeyGlass(**options)


def test_streams_share_no_random_numbers_with_weights_and_masks():
    for seed in (0, 5, 2**32):
        used = [np.random.default_rng(each) for each in (seed, (seed, 1), np.random.SeedSequence(seed, spawn_key=(0, 0)))]
        used += [generator for other in (seed, seed + 1) for generator in generators(other, 3)]
        assert len({int(generator.integers(2**63)) for generator in used}) == len(used)
    assert generators(2**32, 1)[0].integers(2**63) != generators(0, 2)[1].integers(2**63)

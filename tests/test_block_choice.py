"""KFRTRL(block=...): what may be asked for, and what is chosen where nothing was."""

import pytest
from common import CELLS, INPUTS, assert_same_bits, session, stream

import rtrl


def test_options():
    assert rtrl.KFRTRL() == rtrl.KFRTRL(block=None, average=1, fresh=True)
    assert eval(repr(rtrl.KFRTRL(block=8)), vars(rtrl)) == rtrl.KFRTRL(block=8)
    with pytest.raises(ValueError, match="block must be between 1 and"):
        rtrl.KFRTRL(block=0)
    with pytest.raises(TypeError, match="block must be a whole number; got 2.5"):
        rtrl.KFRTRL(block=2.5)
    with pytest.raises(TypeError):
        rtrl.KFRTRL(8)


@pytest.mark.parametrize("spec", [rtrl.KFRTRL(), rtrl.KFRTRL(average=2), rtrl.KFRTRL(fresh=False)], ids=repr)
def test_small_nets_have_blocks_of_one_step(spec):
    for cell in CELLS.values():
        assert spec.suited(rtrl.Network(cell, INPUTS), 16) == spec.replace(block=1)
    assert spec.suited(rtrl.Network(rtrl.GRU(128), INPUTS), 1) == spec.replace(block=1)
    assert (spec.suited(rtrl.Network(rtrl.LSTM(128), INPUTS), 16).block > 1) == (spec.average > 1)
    assert (spec.suited(rtrl.Network(rtrl.RNN(128), INPUTS), 16).block > 1) == (spec.average > 1)
    runs = [session(rtrl.GRU(4), each, rtrl.SGD(0.1), batch_size=2) for each in (spec, spec.replace(block=1))]
    assert runs[0].run(*stream(13, 2)).tobytes() == runs[1].run(*stream(13, 2)).tobytes()
    assert runs[0].estimator == spec


@pytest.mark.parametrize("cell", [rtrl.GRU(96), rtrl.RHN(96), rtrl.RHN(96, 2)], ids=repr)
def test_large_nets_have_longer_blocks(cell):
    """Chosen for the sizes, for shadows too; a block that was asked for is taken."""
    spec, net = rtrl.KFRTRL(), rtrl.Network(cell, INPUTS, rtrl.Softmax(4))
    long = spec.suited(net, 4)
    assert long.block > 1 and rtrl.KFRTRL(block=3).suited(net, 4) == rtrl.KFRTRL(block=3)
    ran, twin = (session(cell, each, rtrl.SGD(0.1), shadow=each, batch_size=4) for each in (spec, long))
    assert ran.estimator == spec and ran.nbytes == twin.nbytes and ran.nbytes["tape"] > 0
    assert_same_bits(ran.run(*stream(10, 4)), twin.run(*stream(10, 4)))
    assert_same_bits(ran._arrays, twin._arrays)

"""Tasks of the papers as endless streams of lanes, for `Session.run` and for loops of one's own.

    import rtrl
    from rtrl import tasks

    stream = tasks.Anbn(seed=0)
    session = rtrl.Session(rtrl.Network(rtrl.GRU(64), stream.inputs, stream.readout), rtrl.UORO(), rtrl.Adam(1e-3))
    for x, y, reset in stream:
        session.reset(reset)
        loss = session.step(x, y)

or, with the loop in the engine, `session.run(*stream.take(1000))`.
"""

from rtrl.tasks.copy import Copy
from rtrl.tasks.grammars import Anbn, Brackets, Recall
from rtrl.tasks.series import MackeyGlass
from rtrl.tasks.streams import Stream
from rtrl.tasks.text import Text

__all__ = ["Anbn", "Brackets", "Copy", "MackeyGlass", "Recall", "Stream", "Text"]

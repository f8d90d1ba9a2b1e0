"""Files of sessions: weights, and every block of the engine's memory that is not workspace."""

import io
import json

import numpy as np

from rtrl import _files
from rtrl.network import Network

__all__ = ["load", "reduced", "restored", "save"]


def save(session, path):
    """Write a session to a file; see `Session.save`."""
    description = {
        "network": session.network.describe(),
        "estimator": _files.pack(session.estimator),
        "optimizer": None if session.optimizer is None else _files.pack(session.optimizer),
        "batch_size": session.batch_size,
        "seed": session.seed,
        "first_lane": session.first_lane,
        "update_every": session.update_every,
        "influence_cap": session.influence_cap,
        "shadows": [_files.pack(shadow.estimator) for shadow in session.shadows if shadow.is_compiled],
        "dense": any(name.startswith("dense.") for name in session._arrays),
    }
    _files.write(path, "session", description, _arrays(session))


def _arrays(session):
    """Everything that `description` leaves out, by its name in a file."""
    arrays = {f"weights/{name}": view for name, view in session.network.arrays().items()}
    return arrays | {f"block/{name}": block for name, block in session._arrays.items()}


def load(cls, path, optimizer, threads, network=None):
    """The session of a file; see `Session.load`.  `network`: the one whose weights these are, if it is there already."""
    with _files.reading(path, "session") as archive:
        description = archive.description
        chosen = _optimizer(description["optimizer"], optimizer)

        def admit(blocks):
            for name, kind, code, _, count, _ in blocks:
                if kind != "workspace" and count:
                    _fits(name, archive, optimizer, (np.dtype(code), (int(count),)))

        session = cls._made(
            admit,
            network or Network.described(archive, "weights/"),
            _files.unpack(description["estimator"]),
            chosen,
            batch_size=description["batch_size"],
            seed=description["seed"],
            first_lane=description.get("first_lane", 0),
            threads=threads,
            update_every=description["update_every"],
            shadow=[_files.unpack(each) for each in description["shadows"]],
            influence_cap=description["influence_cap"],
        )
        if description["dense"]:
            session._engine.need_dense()
        session._engine.admit = None
        arrays = _arrays(session)
        for name in archive.headers.keys() - arrays.keys():
            _fits(name.removeprefix("block/"), archive, optimizer, None)
        archive.fill(arrays)
        for arena in session._engine.arenas():
            for block in arena.blocks:
                if block[1] != "workspace" and block[4]:
                    _within(block[0], session._arrays[block[0]], *block[5], description["dense"])
        session.network.drop_missing()
    return session


def _fits(name, archive, optimizer, wanted):
    """Refuse a block that is not as the session wants it (None: not at all)."""
    found = archive.headers.get(f"block/{name}")
    if found != wanted and optimizer is not None and name.startswith("optimizer."):
        saved = archive.description["optimizer"]["options"]
        given = json.loads(json.dumps(_files.pack(optimizer)["options"]))
        other = [name for name in given if name != "lr" and saved.get(name) != given[name]]  # new options are None at first
        other = ", ".join(f"{name}={saved.get(name)!r} (given to load: {given[name]!r})" for name in other)
        raise _files.Unsuited(f"the optimizer of the file has {other}, and with these options it keeps other numbers")
    if wanted is None:
        raise ValueError(f"{name} is not a part of this session")
    _files.check(name, *wanted, found)


def _within(name, block, least, most, together, dense):
    """Refuse numbers that the engine never had there, and with which it would leave its memory (see arena.pxi)."""
    if (least, most) == (-np.inf, np.inf):
        return
    beyond = (block < least) | (block > most)
    if together:
        negative = (block < 0).reshape(-1, together)
        beyond |= (negative if not dense else negative & ~negative.all(1, keepdims=True)).ravel()
    if beyond.any():
        place = int(np.argmax(beyond))
        raise ValueError(f"{name} is {block[place]} at index {place}, which is out of range")


def _optimizer(packed, given):
    """The saved optimizer, or the one given in its place."""
    if packed is not None and given is None:
        if isinstance(packed["options"]["lr"], dict):
            raise _files.Unsuited("the saved learning rate was a callable, which a file cannot hold: pass optimizer= to load")
        return _files.unpack(packed)
    if (packed is None) != (given is None) or packed is not None and packed["name"] != type(given).__name__:
        raise _files.Unsuited(f"the file holds a session with the optimizer {packed and packed['name']}; got {given!r}")
    return given


# Pickles and copies


def reduced(session):
    """What `restored` needs: the file of the session, and what a file cannot hold."""
    file = io.BytesIO()
    session.save(file)
    return restored, (type(session), file.getvalue(), session.optimizer, session._threads, session.network)


def restored(cls, content, optimizer, threads, network):
    """The session of a pickle or copy."""
    return load(cls, io.BytesIO(content), optimizer, threads, network)

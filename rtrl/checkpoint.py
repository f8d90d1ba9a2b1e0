"""Files of sessions: weights, and every block of the engine's memory that is not workspace."""

from rtrl import _files
from rtrl.network import Network

__all__ = ["load", "save"]


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
    arrays = {f"weights/{name}": view for name, view in session.network.arrays().items()}
    arrays |= {f"block/{name}": block for name, block in session._arrays.items()}
    _files.write(path, "session", description, arrays)


def load(cls, path, optimizer, threads):
    """The session of a file; see `Session.load`."""
    description, arrays = _files.read(path, "session")
    optimizer = _optimizer(description["optimizer"], optimizer)
    with _files.naming(path):
        weights = {name.removeprefix("weights/"): value for name, value in arrays.items() if name.startswith("weights/")}
        blocks = {name.removeprefix("block/"): value for name, value in arrays.items() if name.startswith("block/")}
        session = cls(
            Network.from_description(description["network"], weights),
            _files.unpack(description["estimator"]),
            optimizer,
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
        if set(blocks) != set(session._arrays):
            raise ValueError("its contents are not those of this session")
        for name, block in session._arrays.items():
            if blocks[name].shape != block.shape or blocks[name].dtype != block.dtype:
                raise ValueError(f"{name} must be {block.dtype} of shape {block.shape}")
            block[...] = blocks[name]
    return session


def _optimizer(packed, given):
    """The saved optimizer, or the one given in its place."""
    if packed is not None and given is None:
        if isinstance(packed["options"]["lr"], dict):
            raise ValueError("the saved learning rate was a callable, which a file cannot hold: pass optimizer= to load")
        return _files.unpack(packed)
    if (packed is None) != (given is None) or packed is not None and packed["name"] != type(given).__name__:
        raise ValueError(f"the file holds a session with the optimizer {packed and packed['name']}; got {given!r}")
    return given

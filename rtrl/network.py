"""A network: a cell, a readout, and their weights."""

import io
from collections.abc import Mapping
from os import PathLike
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike

import rtrl_core
from rtrl import _files, _weights, masks
from rtrl._layout import Layout
from rtrl._sealed import Sealed
from rtrl._spec import choice, integer, non_negative, optional
from rtrl.cells import Cell
from rtrl.readouts import Readout
from rtrl_core.memory import check_memory

__all__ = ["Network"]


class Network(Sealed):
    """A recurrent cell with its weights, and optionally a readout.

    Parameters
    ----------
    cell : rtrl.cells.Cell
        What a time step computes.
    inputs : int
        Width of the input, or number of ids.
    readout : rtrl.readouts.Readout or None
        Outputs and loss; None leaves them to the caller (see `Session.advance`).
    dtype : {"float32", "float64"}
        Type of all numbers.
    seed : int
        Seed of the initial weights.
    weight_std : float or None
        None: weights uniform in +-1/sqrt(hidden), as PyTorch does.  A number: normal with this standard
        deviation, biases included (0.01 is what KF-RTRL's and OK's experiments use).
    sparsity : float or None
        Share of the cell's weights that do not exist, in [0, 1): every unit keeps the same number of random recurrent columns
        and inputs (at least one of each), the same in all of its maps, and its biases.
    mask : dict of str to array of bool, array of bool, or None
        Instead of `sparsity`: which weights exist, "cell.<stage>.weight" [r*n, m]; for a cell of one stage the array alone will
        do.  The others are 0 and stay 0.
    input_std : float or None
        None: weights of the input begin as the others do.  A number: normal with this standard deviation (1 is how embeddings
        begin in PyTorch, and in UORO's experiments); the others begin as they would without it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind.
    MemoryError
        If the weights do not fit; the message says how much they need.
    """

    def __init__(
        self,
        cell: Cell,
        inputs: int,
        readout: Readout | None = None,
        dtype: str = "float32",
        seed: int = 0,
        weight_std: float | None = None,
        sparsity: float | None = None,
        mask: Mapping[str, ArrayLike] | ArrayLike | None = None,
        input_std: float | None = None,
    ):
        if not isinstance(cell, Cell):
            raise TypeError(f"cell must be a cell such as rtrl.RNN(32); got {cell!r}")
        if readout is not None and not isinstance(readout, Readout):
            raise TypeError(f"readout must be a readout such as rtrl.Softmax(50), or None; got {readout!r}")
        self.cell = cell
        self.inputs = integer("inputs", inputs, most=2**24)
        self.readout = readout
        if isinstance(dtype, (np.dtype, type)):
            dtype = np.dtype(dtype).name
        self.dtype = np.dtype(choice("float32", "float64")("dtype", dtype))
        seed = integer("seed", seed, least=0, most=2**64 - 1)
        weight_std = optional(non_negative)("weight_std", weight_std)
        input_std = optional(non_negative)("input_std", input_std)
        self._layout = Layout(self.compiled_cell(), self.compiled_readout(), self.inputs, self.dtype)
        if self._admit is not None:
            self._admit(self._layout.shapes)
        size = self._layout.size * self.dtype.itemsize
        check_memory(size, {"weights": size})
        self._flat = self._layout.zeros()
        self._given = masks.wanted(sparsity, mask, self._layout.cell_shapes, cell.hidden, self.inputs, seed)
        self._holes = self._mask(self.compiled_cell())
        self._initialise(np.random.default_rng(seed), weight_std, input_std)
        self._lock = rtrl_core.core(self.dtype.name).Lock()
        self._seal()

    def _mask(self, core):
        """Flat array with 0 where there is no weight, or None."""
        blocks = core.holes(self.inputs)
        if not blocks and self._given is None:
            return None
        mask = self._layout.zeros()
        mask[:] = 1
        for name, exists in (self._given or {}).items():
            self._layout.view(mask, name)[...] = exists
        first = self._layout.view(mask, "cell.0.weight")
        for a, start, stop in blocks:
            first[a * core.n : (a + 1) * core.n, start:stop] = 0
        return mask

    def drop_missing(self) -> None:
        """Set weights that do not exist back to 0, should something have been written there."""
        if self._holes is not None:
            self._flat[self._holes == 0] = 0

    @np.errstate(all="ignore")  # small weights may vanish in float32, whatever the caller wants of his own arithmetic
    def _initialise(self, generator, weight_std, input_std):
        bound = 1 / np.sqrt(self.cell.hidden)
        if weight_std == 0 and input_std is None:
            return  # they are that already
        for view in self.parameters().values():
            if weight_std is None:
                view[...] = generator.uniform(-bound, bound, view.shape)
            else:
                view[...] = generator.normal(0, weight_std, view.shape)
        if input_std is not None:
            weights = self.parameters()["cell.0.weight"][:, self.cell.hidden : self.cell.hidden + self.inputs]
            weights[...] = generator.normal(0, input_std, weights.shape)
        for name, std in (("weight_std", weight_std), ("input_std", input_std)):
            if std is not None and not np.isfinite(self._flat).all():
                raise ValueError(f"{name} is too large for weights of {self.dtype.name}; got {std!r}")
        self.drop_missing()

    def compiled_cell(self):
        """The cell as an object of the compiled core."""
        return self.cell._compiled(self.dtype.name)

    def compiled_readout(self):
        """The readout as an object of the compiled core, or None."""
        return None if self.readout is None else self.readout._compiled(self.dtype.name)

    def parameters(self) -> dict[str, np.ndarray]:
        """Views of the weights by name; writing into a view changes the network.

        Their rows are padded, so they are not contiguous.  What hands their memory on without regard to strides (some writers
        of files do) stores wrong numbers: give those `state_dict()`.

        Returns
        -------
        dict of str to ndarray
            "cell.<stage>.weight" [r*n, m] (rows map-major, columns h | x | 1) and "readout.weight"
            [outputs, n + 1] (columns h | 1).  Entries of weights that the cell does not have (see `rtrl.GRU`) are 0 and
            must stay 0.
        """
        return self._layout.views(self._flat)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the weights by name, contiguous, all of one moment.

        Returns
        -------
        dict of str to ndarray
            As `parameters`.

        Raises
        ------
        RuntimeError
            While another thread uses the network.
        """
        return self._lock.looking(lambda: {name: view.copy() for name, view in self.parameters().items()})

    def load_state_dict(self, state: Mapping[str, ArrayLike], strict: bool = True) -> _weights.Loaded:
        """Take over weights such as `state_dict` returns, all of them or, where one is refused, none.

        Parameters
        ----------
        state : mapping of str to array_like
            Arrays of the names, shapes and the type of `state_dict`.  Weights that do not exist (see `masks`) must be 0.
        strict : bool
            Whether all names must be there, and no others.

        Returns
        -------
        Loaded
            Names of the network that were missing and keep their weights, and names that it does not have.

        Raises
        ------
        TypeError
            If it is not a mapping of arrays of numbers.
        ValueError
            If names, shapes, types or masks are others; the message lists every array that is.
        RuntimeError
            While another thread uses the network, or from within a step of its session.
        """
        flat, given, loaded = _weights.checked(state, self._layout, self.masks(), strict)
        self._lock.changing(self._take, flat, given)
        return loaded

    def _take(self, flat, names):
        """Weights of these names from a flat array.  The last line is one call of NumPy's, which no signal handler interrupts."""
        for name in self._layout.shapes.keys() - set(names):
            self._layout.view(flat, name)[...] = self._layout.view(self._flat, name)
        self._flat[:] = flat

    def masks(self) -> dict[str, np.ndarray]:
        """Which weights exist, boolean arrays by name like `parameters`; the others are 0 and stay 0."""
        if self._holes is None:
            return {name: np.ones(shape, bool) for name, shape in self._layout.shapes.items()}
        return {name: view != 0 for name, view in self._layout.views(self._holes).items()}

    @property
    def is_sparse(self) -> bool:
        """Whether some unit does not read some other through any of its maps (see SnAp)."""
        n = self.cell.hidden
        return self._given is not None and any(
            not mask[:, :n].reshape(-1, n, n).any(0).all() for name, mask in self.masks().items() if name != "readout.weight"
        )

    @property
    def parameter_count(self) -> int:
        """Number of weights that exist."""
        return sum(int(mask.sum()) for mask in self.masks().values())

    def arrays(self):
        """Everything that `describe` leaves out, by name: the parameters, and the mask that was asked for ("mask/...")."""
        return self.parameters() | {f"mask/{name}": mask for name, mask in (self._given or {}).items()}

    def describe(self):
        """What is needed to make this network again, `arrays` apart, as plain data."""
        return {
            "cell": _files.pack(self.cell),
            "inputs": self.inputs,
            "readout": None if self.readout is None else _files.pack(self.readout),
            "dtype": self.dtype.name,
        }

    @classmethod
    def described(cls, archive, prefix=""):
        """The network of `describe` in a file, for the `arrays` there whose names begin with `prefix`; its weights are 0.

        Raises
        ------
        ValueError
            If these are not those of this network; it takes no memory then.
        """
        description = archive.description["network"]
        dtype = np.dtype(choice("float32", "float64")("dtype", description["dtype"]))

        def admit(shapes):
            for name, shape in shapes.items():
                _files.check(name, dtype, shape, archive.headers.get(prefix + name))

        return cls._made(
            admit,
            _files.unpack(description["cell"]),
            description["inputs"],
            None if description["readout"] is None else _files.unpack(description["readout"]),
            description["dtype"],
            weight_std=0,
            mask=archive.masks(f"{prefix}mask/") or None,
        )

    def save(self, path: str | bytes | PathLike | BinaryIO) -> None:
        """Write the network to a file.

        Parameters
        ----------
        path : path-like or binary file
            A path, where `~` is the home folder and a link is followed; an existing file keeps its permissions, and is
            replaced only by a complete one.  Or a file that is open for writing bytes.

        Raises
        ------
        OSError
            If it cannot be written, or there is something that is no regular file.
        RuntimeError
            While another thread uses the network.
        """
        arrays = self._lock.looking(lambda: {name: view.copy() for name, view in self.arrays().items()})
        _files.write(path, "network", {"network": self.describe()}, arrays)

    @classmethod
    def load(cls, path: str | bytes | PathLike | BinaryIO) -> "Network":
        """The network that `save` wrote, from a path or a file that is open for reading bytes.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not a network's file, or damaged.
        """
        with _files.reading(path, "network") as archive:
            network = cls.described(archive)
            archive.fill(network.arrays())
            network.drop_missing()
        return network

    def __reduce__(self):
        file = io.BytesIO()
        self.save(file)
        return _loaded, (type(self), file.getvalue())

    def __repr__(self):
        masked = ""
        if self._given is not None:
            existing = sum(int(mask.sum()) for mask in self._given.values())
            masked = f", mask=<{existing} of {sum(mask.size for mask in self._given.values())}>"
        return f"Network({self.cell!r}, inputs={self.inputs}, readout={self.readout!r}, dtype={self.dtype.name!r}{masked})"


def _loaded(cls, content):
    """The network of a pickle or copy."""
    return cls.load(io.BytesIO(content))

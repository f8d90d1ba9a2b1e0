"""Objects whose public attributes are fixed once they are made."""

__all__ = ["Sealed"]


class Sealed:
    """Refuses to set public attributes after `_seal`: the compiled engine was built from them."""

    _sealed = False

    def _seal(self):
        self._sealed = True

    def __setattr__(self, name, value):
        if self._sealed and not name.startswith("_"):
            raise AttributeError(f"{name} is fixed when a {type(self).__name__} is made; make another one")
        object.__setattr__(self, name, value)

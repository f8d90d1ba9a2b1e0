"""Objects whose public attributes are fixed once they are made, and which can be made for what a file holds."""

__all__ = ["Sealed"]


class Sealed:
    """Refuses to set public attributes after `_seal`: the compiled engine was built from them.

    Properties that have a setter can be set.  `_hints` says what to do instead of setting attributes that do not exist.
    """

    _sealed = False
    _hints: dict[str, str] = {}
    _admit = None

    @classmethod
    def _made(cls, admit, *arguments, **options):
        """An object that calls `admit` with what it needs before it takes memory; that may raise."""
        made = cls.__new__(cls)
        made._admit = admit
        made.__init__(*arguments, **options)
        made._admit = None
        return made

    def _seal(self):
        self._sealed = True

    def __setattr__(self, name, value):
        self._allow(name, "fset")
        object.__setattr__(self, name, value)

    def __delattr__(self, name):
        self._allow(name, "fdel")
        object.__delattr__(self, name)

    def _allow(self, name, way):
        if not self._sealed or name.startswith("_") or getattr(getattr(type(self), name, None), way, None):
            return
        if not hasattr(self, name):
            hint = self._hints.get(name)
            raise AttributeError(f"a {type(self).__name__} has no attribute {name!r}" + (f": {hint}" if hint else ""))
        raise AttributeError(f"{name} is fixed when a {type(self).__name__} is made; make another one")

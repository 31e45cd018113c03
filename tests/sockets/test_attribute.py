"""``Attribute``: one of two classes without a base in common."""

from __future__ import annotations

from trio_xsock._sockets.attribute import Attribute


class Doubled(Attribute[object, int]):
    """Twice what the socket has under the same name with an underscore."""

    def _read(self, socket: object) -> int:
        value: int = getattr(socket, f"_{self._name}")
        return 2 * value


SIZE = Doubled("How large it is.")


class One:
    _size = 1
    size: Doubled = SIZE


class Other:
    _size = 2
    size: Doubled = SIZE


def test_each_class_has_it_with_its_docstring() -> None:
    """What a class returns is the attribute itself, which has the docstring."""
    assert (One().size, Other().size) == (2, 4)
    assert One.size is Other.size is SIZE
    assert One.size.__doc__ == "How large it is."

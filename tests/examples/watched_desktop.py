"""The desktop example, which also tells what its window shows, for a test to read.

Each time that something changes a line of JSON is printed: a list with an object for each
widget, with its kind, the middle of it on the screen, its text and its value. A second
argument is a file that can be dragged from a window beside it.
"""

from __future__ import annotations

import json
import sys
import tkinter as tk
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

from desktop import Window, dnd, run_as_guest

EVERY = 20
"""Milliseconds between two looks."""


def widgets(parent: tk.Misc) -> Iterator[dict[str, Any]]:
    """What the descendants of ``parent`` show, those that are on the screen."""
    for widget in filter(tk.Misc.winfo_viewable, parent.winfo_children()):
        kind = widget.winfo_class()
        options = widget.keys()
        yield {
            "kind": kind,
            "x": widget.winfo_rootx() + widget.winfo_width() // 2,
            "y": widget.winfo_rooty() + widget.winfo_height() // 2,
            "text": text_of(widget, options),
            "value": float(str(widget["value"])) if "value" in options else None,
            "disabled": kind == "TButton" and widget.instate(["disabled"]),
        }
        yield from widgets(widget)


def text_of(widget: tk.Misc, options: list[str]) -> str:
    """What an entry holds, or what is written on another widget."""
    if isinstance(widget, tk.Entry):
        return widget.get()
    return str(widget.cget("text")) if "text" in options else ""


def offer(root: tk.Tk, path: str) -> None:
    """A window as that of a file manager, with one file to drag."""
    manager = tk.Toplevel(root)
    manager.geometry("100x100+850+0")
    file: Any = tk.Label(manager, text="drag me")
    file.pack(fill="both", expand=True)
    file.drag_source_register(1, dnd.DND_FILES)
    file.dnd_bind("<<DragInitCmd>>", lambda _event: (dnd.COPY, dnd.DND_FILES, path))


def main() -> None:
    """Run the example with a look at it now and then."""
    place, *dragged = sys.argv[1:]
    window = Window(place)
    for path in dragged:
        offer(window.root, path)
    last = ""

    def look() -> None:
        nonlocal last
        shown = json.dumps(list(widgets(window.root)))
        if shown != last:
            last = shown
            print(shown, flush=True)
        window.root.after(EVERY, look)

    window.root.after(EVERY, look)
    run_as_guest(window.root, window.main)


if __name__ == "__main__":
    main()

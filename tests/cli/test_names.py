"""Which names from the network are taken."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._cli._errors import RefusedError
from trio_xsock._cli._names import check_untrusted_name, check_untrusted_path, numbered


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "report.pdf",
        "two words.txt",
        "caf\u00e9.txt",
        "a-rf",
        "console.log",
        "common.c",
        "10.30.log",
        " a",
        "a..b",
        "x" * 255,
    ],
)
def test_ordinary_names(name: str) -> None:
    assert check_untrusted_name(name) == name


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a/../b", "for '..': it means a folder"),
        ("../b", "for '..': it means a folder"),
        ("./b", "for '.': it means a folder"),
        ("/b", "for '': it is empty"),
        ("a//b", "for '': it is empty"),
        ("a/", "for '': it is empty"),
        ("a/.ssh/keys", "for '.ssh': hidden files"),
        ("-rf/b", "for '-rf': it begins with a dash"),
        ("a\\..\\b/c", "path separator"),
        ("a/b\x1b", "control characters"),
        ("a/nul", "names a device"),
        (f"a/{'x' * 256}/b", "256 bytes"),
    ],
)
def test_refused_paths(path: str, reason: str) -> None:
    """Each component by the same rule as a name."""
    with pytest.raises(RefusedError, match=re.escape(reason)) as caught:
        check_untrusted_path(path)
    assert str(caught.value).isprintable()


def test_ordinary_paths() -> None:
    assert check_untrusted_path("a") == ("a",)
    assert check_untrusted_path("photos/2026/a b.jpg") == ("photos", "2026", "a b.jpg")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        (".", "folder"),
        ("..", "folder"),
        ("../x", "separator"),
        ("/etc/passwd", "separator"),
        ("a/b", "separator"),
        ("..\\x", "separator"),
        ("C:\\x", "separator"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("\x1b]0;title\x07", "control"),
        ("a\x9bb", "control"),
        ("a\u202eb", "control"),
        ("a\u2028b", "control"),
        ("a\udcffb", "control"),
        (".bashrc", "hidden"),
        (".xsock-0.part", "hidden"),
        ("x" * 256, "256 bytes"),
        ("\u20ac" * 86, "258 bytes"),
        ("CON", "device"),
        ("nul.txt", "device"),
        ("Aux .tar.gz", "device"),
        ("lpt1", "device"),
        ("COM\u00b9.x", "device"),
        ("conout$", "device"),
        ("-rf", "dash"),
        ("--checkpoint-action=exec=sh", "dash"),
        ("-", "dash"),
        ("a:b.txt", "no : in a name"),
        ("what?.txt", r"no \? in"),
        ("a*b", r"no \* in"),
        ("<h>.txt", "no < > in"),
        ('a"b', 'no " in'),
        ("a|b", r"no \| in"),
        ("x.", "dot or blank"),
        ("x ", "dot or blank"),
    ],
)
def test_refused_names(name: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as caught:
        check_untrusted_name(name)
    assert str(caught.value).isprintable()


@given(st.text(max_size=300))
def test_a_name_is_refused_or_stays_within_its_folder(name: str) -> None:
    try:
        check_untrusted_name(name)
    except RefusedError as exc:
        assert str(exc).isprintable()
        return
    path = Path("/some/folder") / name
    assert Path(os.path.normpath(path)).parent == Path("/some/folder")
    assert path.name == name
    assert 1 <= len(os.fsencode(name)) <= 255


def test_numbers_go_before_the_suffix() -> None:
    assert list(itertools.islice(numbered("a.tar.gz"), 3)) == [
        "a.tar.gz",
        "a.tar (1).gz",
        "a.tar (2).gz",
    ]
    assert list(itertools.islice(numbered("README"), 2)) == ["README", "README (1)"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1))
def test_numbered_names_fit_and_differ(name: str) -> None:
    name = name.encode()[:255].decode(errors="ignore")
    found = list(itertools.islice(numbered(name), 12))
    assert len(set(found)) == 12
    assert all(len(candidate.encode()) <= 255 for candidate in found)


@pytest.mark.parametrize("name", ["x" * 255, "a." + "y" * 253, "\u20ac" * 85])
def test_long_names_are_cut_for_the_number(name: str) -> None:
    second = next(itertools.islice(numbered(name), 1, None))
    assert len(second.encode()) <= 255
    assert " (1)" in second

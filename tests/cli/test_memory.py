"""A gigabyte in constant memory: the largest resident size of either process."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .support import Program

GIGABYTE = 10**9
LIMIT_KB = 60_000
PATIENCE = 60.0
# The child itself says at its end how large it ever was.
CODE = """\
import sys
from trio_xsock._cli import main
code = main()
with open("/proc/self/status") as status:
    print(*(line for line in status if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""


def peak_kb(program: Program) -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", "\n".join(program.err.seen))
    assert match, program.err.seen
    return int(match[1])


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE)  # ten seconds or less, but for a disk that others use too
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_gigabyte(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "big"
    with path.open("wb") as file:  # 16 MB of contents that differ, then a hole
        for number in range(1 << 21):
            file.write(b"%08d" % number)
        file.truncate(GIGABYTE)
    try:
        with Program("receive", "--json", 0, tmp_path / "in", code=CODE) as receiver:
            place = f"127.0.0.1:{receiver.port()}"
            with Program("send", "--json", path, place, code=CODE) as sender:
                assert (sender.end(PATIENCE), receiver.end(PATIENCE)) == (0, 0)
        sent, received = json.loads(sender.out.seen[-1]), json.loads(receiver.out.seen[-1])
        assert sent["bytes_sent"] == received["bytes_received"] == GIGABYTE
        assert sent["sha256"] == received["sha256"]
        assert (tmp_path / "in" / "big").stat().st_size == GIGABYTE
        print(
            f"sender {peak_kb(sender)} kB, receiver {peak_kb(receiver)} kB, "
            f"{GIGABYTE / 1e6 / sent['seconds']:.0f} MB/s"
        )
        assert peak_kb(sender) < LIMIT_KB
        assert peak_kb(receiver) < LIMIT_KB
    finally:
        for left in (path, tmp_path / "in" / "big"):
            left.unlink(missing_ok=True)

"""Dead or slow: what the detector makes of what the kernel says, on a timeline of samples."""

from __future__ import annotations

import pytest

from trio_xsock._machines.dead_peers import DeadPeerDetector, Sample

IDLE = Sample(in_flight=False, unanswered=False, last_ack=1000.0)


def waiting(last_ack: float) -> Sample:
    """Data is in flight, and nothing had to be sent twice yet."""
    return Sample(in_flight=True, unanswered=False, last_ack=last_ack)


def retransmitting(last_ack: float) -> Sample:
    """Data is in flight that had to be sent twice."""
    return Sample(in_flight=True, unanswered=True, last_ack=last_ack)


def probing(last_ack: float, probes: int = 1) -> Sample:
    """The window is closed, and probes for it are out."""
    return Sample(in_flight=True, unanswered=True, last_ack=last_ack, probes=probes)


def verdicts(detector: DeadPeerDetector, *timeline: tuple[float, Sample]) -> list[bool]:
    """What the detector says to each sample at its time."""
    return [detector.observe(now, sample) for now, sample in timeline]


def test_a_dead_link_is_found_when_the_time_is_up() -> None:
    """Retransmissions without an answer count from the last acknowledgement."""
    assert verdicts(
        DeadPeerDetector(3.0),
        (10.0, waiting(0.1)),
        (11.0, retransmitting(1.1)),
        (12.0, retransmitting(2.1)),
        (12.8, retransmitting(2.9)),
        (13.0, retransmitting(3.1)),
    ) == [False, False, False, False, True]


def test_idleness_before_the_data_does_not_count() -> None:
    """The last acknowledgement may be hours old when something is sent at last."""
    assert verdicts(
        DeadPeerDetector(3.0),
        (10.0, IDLE),
        (10.5, waiting(1000.5)),
        (11.0, retransmitting(1001.0)),
        (13.0, retransmitting(1003.0)),
        (13.5, retransmitting(1003.5)),
    ) == [False, False, False, False, True]


def test_a_peer_that_answers_in_between_is_alive() -> None:
    """Losses on the way delay acknowledgements; each that comes starts the time anew."""
    assert not any(
        verdicts(
            DeadPeerDetector(1.0),
            (10.0, waiting(0.0)),
            (10.9, retransmitting(0.9)),
            (11.1, retransmitting(0.1)),
            (12.0, retransmitting(0.9)),
            (12.2, waiting(0.1)),
            (14.0, waiting(2.0)),
        )
    )


def test_a_closed_window_is_no_death() -> None:
    """The peer answers each probe; that the next one comes late says nothing about it."""
    assert not any(
        verdicts(
            DeadPeerDetector(1.0),
            (10.0, waiting(0.0)),
            (11.0, waiting(1.0)),
            (15.0, waiting(5.0)),
            (19.0, probing(9.0)),
            (19.1, probing(9.1)),
            (19.2, waiting(0.05)),
            (100.0, probing(80.0)),
            (100.1, waiting(0.05)),
        )
    )


def test_a_peer_that_vanishes_behind_a_closed_window_is_found() -> None:
    """From the first probe that stays unanswered on."""
    assert verdicts(
        DeadPeerDetector(1.0),
        (10.0, waiting(0.0)),
        (100.0, probing(90.0)),
        (100.9, probing(90.9, 3)),
        (101.0, probing(91.0, 3)),
    ) == [False, False, False, True]


def test_a_probe_may_be_lost() -> None:
    """However long ago that was, two of them prove nothing; nor is there any hurry meanwhile."""
    detector = DeadPeerDetector(1.0)
    assert not any(
        verdicts(
            detector,
            (10.0, waiting(0.0)),
            (20.0, probing(10.0)),
            (50.0, probing(40.0)),
            (60.0, probing(50.0, 2)),
            (150.0, probing(140.0, 2)),
        )
    )
    assert detector.next_look(150.0) == 150.125
    assert detector.observe(160.0, probing(150.0, 3))


def test_one_look_is_not_enough() -> None:
    """What went out just before the sample is unanswered as well."""
    assert verdicts(
        DeadPeerDetector(1.0), (10.0, waiting(0.0)), (20.0, retransmitting(10.0)), (20.1, IDLE)
    ) == [False, False, False]


def test_what_was_is_forgotten_when_all_is_acknowledged() -> None:
    """New data starts a new time, whatever went before."""
    detector = DeadPeerDetector(1.0)
    assert verdicts(
        detector,
        (10.0, retransmitting(0.0)),
        (10.9, retransmitting(0.9)),
        (11.0, IDLE),
        (12.0, retransmitting(1.0)),
        (12.1, retransmitting(1.1)),
        (13.0, retransmitting(2.0)),
    ) == [False, False, False, False, False, True]


@pytest.mark.parametrize(
    ("timeout", "interval"), [(0.05, 0.02), (0.8, 0.1), (8.0, 1.0), (3600.0, 1.0)]
)
def test_samples_are_taken_often_enough(timeout: float, interval: float) -> None:
    """An eighth of the time, but neither all the time nor less than once a second."""
    assert DeadPeerDetector(timeout).next_look(10.0) == pytest.approx(10.0 + interval)


def test_the_last_look_is_in_time() -> None:
    """It is taken when the time is up, not an eighth of it later, but never at once again."""
    detector = DeadPeerDetector(3.0)
    assert not any(verdicts(detector, (10.0, retransmitting(0.0)), (12.9, retransmitting(2.9))))
    assert detector.next_look(12.9) == 13.0
    assert not detector.observe(12.995, retransmitting(2.995))
    assert detector.next_look(12.995) == pytest.approx(13.015)
    assert detector.observe(13.015, retransmitting(3.015))

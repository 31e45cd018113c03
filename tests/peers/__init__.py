"""Real programs at the other end: each test is skipped where its program is not installed."""

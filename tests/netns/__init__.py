"""What needs a network that misbehaves: two hosts of our own, see ``tests/support/link.py``."""

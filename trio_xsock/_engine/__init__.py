"""Connections and datagram ports: plain functions that never wait."""

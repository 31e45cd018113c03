"""Machines without I/O: values in, values out; no Trio, no sockets, no clock."""

"""The use of the operating system: sockets, names, interfaces, files, TLS contexts."""

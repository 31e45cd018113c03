"""What knows the operating system: sockets, names, interfaces, files, TLS contexts."""

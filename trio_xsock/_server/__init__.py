"""ServerSocket and its parts."""

"""Values: errors, events and what they carry. Nothing here acts."""

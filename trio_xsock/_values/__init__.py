"""Values: errors, events and the data that they carry."""

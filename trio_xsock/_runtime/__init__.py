"""What knows Trio's machinery: scopes, tasks, delivery of events, readiness."""

"""HTTP over a unix socket: the daemon's server, and what its clients share."""

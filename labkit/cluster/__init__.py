"""Beyond one process: the engine under Ray Serve, and sweeps as Ray tasks, on this machine or on a cluster."""

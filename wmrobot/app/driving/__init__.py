"""A drive with deadlines: its processes, its simulated robot, its window, its report."""

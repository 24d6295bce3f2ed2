"""The guard: a process between planner and robot that stops the motors."""

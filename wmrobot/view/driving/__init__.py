"""The control loop's end: who drives the robot of a window, and what it tells."""

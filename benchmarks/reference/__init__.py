"""TD-MPC2's base planner and update, plainly written: what `wmrobot` is timed against.

It shares no code with `wmrobot`, and is neither compiled nor tuned.
"""

"""What goes between planner, guard and robot, as datagrams."""

"""The planner of a bundle, whole or stage by stage."""

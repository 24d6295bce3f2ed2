"""The suite's common domains, all rows of a batch stepped by one call of MuJoCo.

A file for the engine, one for the table of what is ported, and one for each domain: what it
observes and rewards, over all rows at once. What comes out is what dm_control gives, bit for bit.
"""

"""Tools that look at a program of tensors: its first bad value, its time, its graph, its memory.

They watch from outside (`watch.py`), so no op knows of them and a program that is not watched pays
nothing.
"""

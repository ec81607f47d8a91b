"""Tools that look at a program of tensors: its first bad value, its time, its graph, its memory.

They watch from outside (`watch.py`): neither ops nor the tape know of them, and a program that is not
watched pays nothing.
"""

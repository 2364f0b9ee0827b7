"""Parts of ``bench.py``: how long the whole way from the click to the segmentation in the scene takes, and its peers.

This file and the modules that the peers' processes load (``talk``, ``wire``) import nothing but the standard library.
"""

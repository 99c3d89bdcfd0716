"""Recognise facial expressions over time, at the edge.

>>> import dfer_edge
>>> dfer_edge.list_models()[:2]
['slowr50_sa', 'slowr50']

Importing is cheap: no torch, no OpenCV, no engine until first use.
"""

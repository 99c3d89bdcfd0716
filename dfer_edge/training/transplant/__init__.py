"""A public expression network of people, carried over into the layers of SlowR50: where the default weights begin.

Renders alone do not teach a network what photographs of people look like. face-api's expression network (MIT, 190 kB,
see NOTICE) does know; its depthwise separable 3x3 convolutions with dense sums can be written exactly as bottlenecks
with residual sums. What cannot (its first two of four blocks, where SlowR50 has a 7x7 stem and a pool) is learnt from
its feature maps on any picture. The classifier is then fitted on renders, whose labels are ours.

``python -m dfer_edge.training.transplant --help`` runs all of it.
"""

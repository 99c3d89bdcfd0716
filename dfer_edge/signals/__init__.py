"""More than a label: action units, intensity, valence and arousal of a face, from its 68 landmarks alone.

Works with every network and engine, since pixels are not looked at again. A morphable face is fitted to the points
(:mod:`dfer_edge.signals.fit`): its identity settles over the track, what is left are the shapes of action units, of
which the person's own neutral is taken away (:mod:`dfer_edge.signals.reader`); :mod:`dfer_edge.signals.affect` has the
rule for the rest. ``Recognizer(..., signals=True)`` fills ``Prediction.signals``.
"""

from dfer_edge.signals.affect import signals_of
from dfer_edge.signals.basis import Basis, load_basis
from dfer_edge.signals.fit import Identity, fit
from dfer_edge.signals.reader import Listening, SignalReader

__all__ = ["Basis", "Identity", "Listening", "SignalReader", "fit", "load_basis", "signals_of"]

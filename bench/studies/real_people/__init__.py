"""The ruler: how right labels are on faces of real people, set by set, with lost faces counted as wrong.

    python -m bench.studies.real_people FOLDER [FOLDER ...] --model slowr50_sa --threads 1 --peers PEERS --out RUN.json
    python -m bench.studies.real_people FOLDER --weights NEW.safetensors --against RUN.json --out NEW.json

A FOLDER holds sets: ``<set>/<label>/<still, clip or folder of frames>``. The seven sets of the validation part have to
be whole. Samples go through :meth:`dfer_edge.Recognizer.predict`; what the face and landmark detectors said is kept on
disk, so that another weights file costs its engine's time alone. Pictures of people are never written anywhere.
"""

from bench.studies.real_people.crops import Crops, crops
from bench.studies.real_people.judge import Judged, judge, paired
from bench.studies.real_people.run import Row, Run, measure
from bench.studies.real_people.samples import Sample, find

__all__ = ["Crops", "Judged", "Row", "Run", "Sample", "crops", "find", "judge", "measure", "paired"]

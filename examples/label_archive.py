"""An archive to one table: ``python label_archive.py videos/ labels.parquet [RAY_ADDRESS]``.

Run it again after an interruption and it goes on where it was. On Ray the folder must lie under the same path on every
machine; ``local`` starts a cluster here.
"""

from __future__ import annotations

import sys

import pyarrow.parquet as parquet

from dfer_edge.label import label_archive


def main(folder: str, out: str, ray_address: str | None = None) -> None:
    report = label_archive(folder, out, ray_address=ray_address)
    print(report)
    table = parquet.read_table(out, columns=["file", "start_s", "label", "confidence"])
    for row in table.to_pylist()[:10]:
        print(row)


if __name__ == "__main__":
    main(*sys.argv[1:])

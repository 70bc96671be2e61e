"""Scores of a folder of pictures as a table for a spreadsheet.

    python examples/03_folder_to_csv.py MODEL.diffad FOLDER [scores.csv]

Pictures in folders below count too. One that cannot be judged stands in the table with its error, and without a score.
"""

import csv
import sys
from pathlib import Path

from diffad_edge import Inspector, Verdict

COLUMNS = ("name", "verdict", "score", "threshold", "marked_pixels", "milliseconds", "error")


def main(model: str, folder: str, table: str = "scores.csv") -> None:
    part = Path(f"{table}.part")
    count = 0
    with Inspector.open(model) as inspector, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for result in inspector.stream(f"dir://{folder}"):
            judged = result.verdict is not Verdict.ERROR
            rows.writerow(
                [
                    result.name,
                    result.verdict.value,
                    f"{result.score:.6f}" if judged else "",
                    f"{result.image_threshold:.6f}",
                    int((result.mask > 0).sum()) if judged else "",
                    f"{result.latency_ms['total']:.2f}",
                    result.error,
                ]
            )
            count += 1
    part.replace(table)  # the table appears when it is whole
    print(f"{count} pictures in {table}")


if __name__ == "__main__":
    if len(sys.argv) not in {3, 4}:
        sys.exit(__doc__)
    main(*sys.argv[1:])

"""A new model over all that the old one archived: which verdicts would have been others?

    python examples/13_batch_over_archive.py NEW.diffad ARCHIVE [CHANGED.csv]

ARCHIVE is what `run --archive` wrote: everything that was not OK, and a few that were. Look at what changed before the
new model goes to the line. (`diffad-edge replay` asks the other question: does the same model still say the same?)
"""

import csv
import sys
from collections import Counter
from pathlib import Path

from diffad_edge import DiffadError, Inspector
from diffad_runtime.archive.reading import read_frame, records_of, sessions_of
from diffad_runtime.archive.record import Record


def main(model: str, archive: str, out: str = "changed.csv") -> None:
    counts, unread = Counter[tuple[str, str]](), 0
    with Inspector.open(model) as inspector, Path(out).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["session", "file", "captured", "was", "is", "score_was", "score_is"])
        for session in sessions_of(archive):
            for record in records_of(session):
                try:
                    image = read_frame(session, record) if isinstance(record, Record) and record.file else None
                except DiffadError as error:  # damaged on the disk: say so, and go on
                    print("left out:", error, file=sys.stderr)
                    image = None
                if image is None or not isinstance(record, Record):
                    unread += 1
                    continue
                result = inspector.inspect(image)
                counts[record.verdict.value, result.verdict.value] += 1
                if result.verdict is not record.verdict:
                    was = [session.name, record.file, record.t_capture.isoformat(), record.verdict.value]
                    rows.writerow([*was, result.verdict.value, record.score, f"{result.score:.4f}"])
    for (was, now), count in sorted(counts.items()):
        print(f"{was:5s} -> {now:5s} {count:6d}{'' if was == now else '   changed'}")
    print(f"{sum(counts.values())} frames judged, {unread} could not be; the changed ones are in {out}")


if __name__ == "__main__":
    if len(sys.argv) not in {3, 4} or {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    main(*sys.argv[1:])

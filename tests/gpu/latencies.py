"""The last line of `diffad-edge bench --json` as a table to paste: variants by stages, p50 / p95 in milliseconds."""

import json
import sys
from pathlib import Path
from typing import Any


def table(report: dict[str, Any]) -> str:
    """Markdown; stages in the order they run, the whole frame last."""
    variants: dict[str, dict[str, Any]] = report["variants"]
    stages = list(dict.fromkeys(stage for one in variants.values() for stage in one["stages"]))
    rows = [["variant", *stages, "total", "frames/s"], ["---"] * (len(stages) + 3)]
    for name, one in variants.items():
        times = [one["stages"].get(stage) for stage in stages] + [one["latency_ms"]]
        cells = [f"{found['p50']:.2f} / {found['p95']:.2f}" if found else "-" for found in times]
        rows.append([f"{name} ({one['backend']})", *cells, f"{one['frames_per_second']:.1f}"])
    height, width = report["frame_size"]
    title = f"p50 / p95 ms over {report['rounds']} frames of {width} x {height}; {report['machine']}"
    return "\n".join([title, "", *("| " + " | ".join(row) + " |" for row in rows)])


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))

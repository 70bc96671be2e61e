"""A result as one row of a table: every field of Result but its arrays, and what the files of the image are.

Knows the columns. Does not know Ray, nor where rows are kept (outfolder.py).

    frame_id          int64       place of the image in the sorted listing of the folder
    t_capture         timestamp   microseconds, UTC: when the file was read
    name              string      path below the folder, with "/"
    verdict           string      OK, NG or ERROR
    score             double      null on ERROR
    error, code       string, int32   why it is ERROR, else "" and 0
    image_threshold, pixel_threshold   double
    defects           list of {area_px, box: [left, top, width, height], peak, centre: [x, y], region}
    regions           list of {region, score, threshold, verdict}
    mask_path         string      below OUT; null on ERROR
    mask_pixels       int64       white pixels of the mask; null on ERROR
    anomaly_max       double      largest value of the map; null on ERROR
    latency_ms        {resize, extract, reconstruct, mask, total}   double
    extra             map of string to double
    bundle_digest, variant, backend    string
    part_id, recipe   string, t_trigger timestamp   as in Result; empty and null for folders
    file_bytes, file_mtime_ns          int64: of the image file, so that one that was replaced is scored again
"""

from typing import Any, Final

from diffad_runtime.result import Result
from diffad_runtime.scale.listing import Item
from diffad_runtime.scale.packages import load_arrow
from diffad_runtime.sinks.jsonl import result_fields

STAGES: Final = ("resize", "extract", "reconstruct", "mask", "total")
ATTEMPTS, FATAL = "attempts", "fatal"
"""Columns on the way from a worker, not kept: how often a worker died at this batch, and why it cannot work at all."""


def schema() -> Any:
    """pyarrow.Schema of the table in OUT."""
    pa = load_arrow()
    number, whole, text = pa.float64(), pa.int64(), pa.string()
    defect = pa.struct(
        [
            ("area_px", whole),
            ("box", pa.list_(whole)),
            ("peak", number),
            ("centre", pa.list_(number)),
            ("region", text),
        ]
    )
    region = pa.struct([("region", text), ("score", number), ("threshold", number), ("verdict", text)])
    return pa.schema(
        [
            ("frame_id", whole),
            ("t_capture", pa.timestamp("us", tz="UTC")),
            ("name", text),
            ("verdict", text),
            ("score", number),
            ("error", text),
            ("code", pa.int32()),
            ("image_threshold", number),
            ("pixel_threshold", number),
            ("defects", pa.list_(defect)),
            ("regions", pa.list_(region)),
            ("mask_path", text),
            ("mask_pixels", whole),
            ("anomaly_max", number),
            ("latency_ms", pa.struct([(stage, number) for stage in STAGES])),
            ("extra", pa.map_(text, number)),
            ("bundle_digest", text),
            ("variant", text),
            ("backend", text),
            ("part_id", text),
            ("recipe", text),
            ("t_trigger", pa.timestamp("us", tz="UTC")),
            ("file_bytes", whole),
            ("file_mtime_ns", whole),
        ]
    )


def row_of(result: Result, item: Item, mask_path: str | None) -> dict[str, Any]:
    """One row, as plain values.

    Args:
        result: of the image.
        item: the image.
        mask_path: below OUT; left out of an ERROR.
    """
    fields = result_fields(result, mask_path)
    stages = {stage: fields["latency_ms"].get(stage) for stage in STAGES}
    times = {"t_capture": result.t_capture, "t_trigger": result.t_trigger}
    return {
        **fields,
        **times,
        "latency_ms": stages,
        "extra": list(fields["extra"].items()),
        "file_bytes": item.file_bytes,
        "file_mtime_ns": item.file_mtime_ns,
    }


def sent(rows: list[dict[str, Any]], attempts: int) -> Any:
    """Rows as the pyarrow.Table that a worker gives back."""
    pa = load_arrow()
    table = pa.Table.from_pylist(rows, schema=schema())
    table = table.append_column(ATTEMPTS, pa.array([attempts] * len(rows), pa.int32()))
    return table.append_column(FATAL, pa.array([None] * len(rows), pa.string()))


def sent_fatal(reason: str) -> Any:
    """The answer of a worker that cannot work: a table of the same columns, with one row that says why."""
    pa = load_arrow()
    columns = [*schema(), pa.field(ATTEMPTS, pa.int32()), pa.field(FATAL, pa.string())]
    return pa.Table.from_pylist([{FATAL: reason, ATTEMPTS: 0}], schema=pa.schema(columns))


def received(table: Any) -> tuple[Any, int, str]:
    """What a worker sent: the rows to keep, the most attempts, and why it cannot work, "" where it can."""
    fatal = next((reason for reason in table.column(FATAL).to_pylist() if reason is not None), "")
    attempts = max(table.column(ATTEMPTS).to_pylist(), default=0)
    return table.select(schema().names).cast(schema()), attempts, fatal

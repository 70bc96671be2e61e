"""Scoring of folders that are too large for one machine, as a Ray Data job. Needs the extra [scale].

packages.py   ray and pyarrow, imported when they are needed
rows.py       a result as a row of a table
listing.py    the images of a folder, as a job hands them out
outfolder.py  OUT: which images are done, what a killed job left, one table in the end
attempts.py   which images a worker was at when it died, so that none can kill a job
worker.py     what runs on a worker: an Inspector, images in, files and rows out
cluster.py    the Ray cluster: one that is there, or one for this job alone
job.py        score_on_ray: the order of it all

Ray schedules, moves and repeats; nothing of that is written here.
"""

from diffad_runtime.scale.job import RaySummary, score_on_ray

__all__ = ["RaySummary", "score_on_ray"]

"""Is the run well, and does the camera still show what it was set up for? Told to people, Prometheus and systemd.

    limits      a Snapshot -> reasons why the run is not well (none: it is)
    notify      systemd's socket: READY, STATUS, WATCHDOG
    watchdog    a thread that tells systemd that the run lives, as long as it is well
    metrics     /metrics for Prometheus, /healthz, /readyz; families: what is on the first; endpoint: the server
    machine     temperatures, disks, threads: what the system tells
    driftwatch  scores of the run beside those of the good parts that set the threshold
    camera      pictures of the run beside those at commissioning (reference): blur, exposure, shift, dirt
    logs        lines on stderr for people or machines, repeats counted instead of written
    signals     SIGTERM and Ctrl-C end the run in order, a second one at once

Whoever shows something takes `take: Callable[[], Snapshot]` and asks for a snapshot when it needs one. Nothing here
judges a part.
"""

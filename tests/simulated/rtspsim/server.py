"""An RTSP server on loopback whose pictures tell when they were made: H.264, one barcode of the monotonic clock each.

Run by the system's Python, which has GStreamer's bindings (Debian: python3-gi, gir1.2-gst-rtsp-server-1.0,
gstreamer1.0-plugins-base, -good, -bad and -ugly), never imported by tests:

    python3 server.py PORT [WIDTH HEIGHT FPS KEY [USER PASSWORD]]

A frame shows 32 bars, white for 1, most significant bit first: milliseconds of CLOCK_MONOTONIC, modulo 2 ** 32. KEY is
the number of frames from one key frame to the next. "ready" is printed once it listens. Knows no client.
"""

import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

BITS = 32


class Factory(GstRtspServer.RTSPMediaFactory):
    """Makes one pipeline, shared by all clients."""

    def __init__(self, width, height, fps, key):
        super().__init__()
        self.width, self.height, self.fps = width, height, fps
        self.launch = (
            "appsrc name=bars is-live=true do-timestamp=true format=time "
            f"caps=video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 "
            f"! x264enc tune=zerolatency speed-preset=ultrafast bitrate=4000 key-int-max={key} threads=1 "
            "! rtph264pay name=pay0 pt=96 config-interval=-1"
        )
        self.set_shared(True)

    def do_create_element(self, _url):
        return Gst.parse_launch(self.launch)

    def do_configure(self, media):
        source = media.get_element().get_child_by_name("bars")
        GLib.timeout_add(1000 // self.fps, self.push, source)

    def push(self, source):
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000
        width = self.width // BITS
        row = b"".join(bytes([235 if now >> (BITS - 1 - bit) & 1 else 16]) * width for bit in range(BITS))
        luma = row * self.height
        flat = bytes([128]) * (len(luma) // 2)
        return source.emit("push-buffer", Gst.Buffer.new_wrapped(luma + flat)) == Gst.FlowReturn.OK


def main():
    port, *rest = sys.argv[1:]
    width, height, fps, key = (int(value) for value in (rest[:4] or (320, 240, 25, 25)))
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = Factory(width, height, fps, key)
    if rest[4:]:
        user, password = rest[4:]
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        rights = Gst.Structure.new_empty("user")
        for right in ("media.factory.access", "media.factory.construct"):
            rights.set_value(right, True)
        factory.add_role_from_structure(rights)
    server.get_mount_points().add_factory("/live", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {port} is taken")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()

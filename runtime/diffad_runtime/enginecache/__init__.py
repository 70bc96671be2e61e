"""Engines built on this device and kept between starts: where, under which key, found whole or not at all."""

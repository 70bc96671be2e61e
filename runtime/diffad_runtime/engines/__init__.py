"""Inference engines: one small file per library, all over `base.Engine`; `select.open_engine` picks one."""

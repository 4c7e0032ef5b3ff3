"""Modules of cocotb tests, one for each block. They run inside the simulator, not under pytest."""

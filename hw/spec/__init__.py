"""The integer format of Kestrel: the single description that every package reads.

Plain Python: no Amaranth, no torch, no NumPy. The reference (``sw``), the ROM images (``export``), the
generated Verilog (``hw``) and the test benches (``verif``) take every width, code and field layout from this
package:

widths          widths of the numbers, and the weight stream
masks           mask codes and their digits
records         records of ROM words and their bit fields
table           the schedule table: header, layer records, visit records
timing          latencies
descriptor      the descriptor unit and its ROM
registers       the chip's registers
status          error causes and counters
engine_config   the engine configuration and the widths that follow from it
configurations  the named configurations, and those from TOML files
chip_config     what is fixed of a chip when its Verilog is generated
errors          the error of input that cannot be used

The arithmetic itself is written down in ``docs/arithmetic.md``.
"""

"""What is read from a layout. The flow itself needs tools that are not in the tests."""

import pytest

from kestrel.verif.physical import layout
from kestrel.verif.physical.def_file import LayoutError, Placed, Wire, read_def, read_sizes
from kestrel.verif.physical.layout import Wiring, read_layout, wiring_of

DEF = """VERSION 5.6 ;
UNITS DISTANCE MICRONS 100 ;
DIEAREA ( -400 -200 ) ( 3600 1800 ) ;
COMPONENTS 3 ;
- A_1 INVX1 + PLACED ( 0 0 ) N ;
- A_2 INVX1 + PLACED ( 800 0 ) FS ;
- FILL_1 FILL + PLACED ( 1600 0 ) N ;
END COMPONENTS
SPECIALNETS 1 ;
- vdd + ROUTED metal1 ( 0 0 ) ( 99999 * ) ;
END SPECIALNETS
NETS 2 ;
- a ( A_1 A ) ( PIN a )
+ ROUTED metal1 ( 100 100 ) M2_M1
  NEW metal2 ( 100 100 ) ( * 350 ) M3_M2
  NEW metal3 ( 100 350 ) ( -50 * ) ( * 450 ) ;
- b ( A_2 A ) ( A_1 Y )
+ ROUTED metal2 ( 0 0 ) ( 0 200 ) ;
END NETS
END DESIGN
"""
LIBRARY = "library (x) { cell (INVX1) { area : 64.0; } cell (FILL) { area : 8; } }"


def test_a_def_file():
    """250 + 150 + 100 + 200 units of 0.01 um; power and fillers do not count."""
    read = read_def(DEF)
    assert read.die == (-4, -2, 36, 18)
    assert read.placed == (Placed("INVX1", 0, 0), Placed("INVX1", 8, 0), Placed("FILL", 16, 0))
    assert read.wires[2] == Wire("metal3", ((1, 3.5), (-0.5, 3.5), (-0.5, 4.5)))
    found = wiring_of(read)
    assert found == Wiring({"INVX1": 2}, 40.0, 20.0, 7.0, 2)
    assert found.area == 800.0
    with pytest.raises(LayoutError, match="no DEF file"):
        read_def("VERSION 5.6 ;")


def test_sizes_of_cells():
    """One of a LEF file's cells, with a pin whose shapes are not its size."""
    pin = "  PIN A\n    RECT 0.4 8.6 1.2 9.4 ;\n"
    text = f"MACRO INVX1\n  SIZE 3.2 BY 20.0 ;\n{pin}END INVX1\nMACRO FILL\n SIZE 1.6 BY 20 ;\nEND FILL\n"
    assert read_sizes(text) == {"INVX1": (3.2, 20.0), "FILL": (1.6, 20.0)}


def files(folder):
    texts = {
        "log/route.log": "Nets remaining: 0\nFinal: No failed routes!\n",
        "layout/top.def": DEF,
        "log/sta.log": "Computed maximum clock frequency (zero margin) = 185.17 MHz\n",
        "log/post_sta.log": "Computed maximum clock frequency (zero margin) = 183.641 MHz\n",
        "log/drc.log": "...\ndrc = 0\n",
        "log/lvs.log": "Result: Circuits match uniquely.\n",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)
    library = folder / "tech" / layout.TECHNOLOGY / f"{layout.TECHNOLOGY}_stdcells.lib"
    library.parent.mkdir(parents=True)
    library.write_text(LIBRARY)


def test_a_folder_of_the_flow(tmp_path, monkeypatch):
    files(tmp_path)
    monkeypatch.setattr(layout, "TECHNOLOGIES", tmp_path / "tech")
    found = read_layout(tmp_path, "top")
    assert (found.cell_area, found.density) == (128.0, 0.16)
    assert (found.mhz_without_wires, found.mhz) == (185.17, 183.641)
    assert (found.drc_errors, found.lvs_matches) == (0, True)
    (tmp_path / "log/drc.log").write_text("drc = 12\n")
    (tmp_path / "log/lvs.log").write_text("Result: Netlists do not match.\n")
    found = read_layout(tmp_path, "top")
    assert (found.drc_errors, found.lvs_matches) == (12, False)
    (tmp_path / "log/route.log").write_text("Final: Failed net routes: 80\n")
    with pytest.raises(LayoutError, match="top: not all nets were routed"):
        read_layout(tmp_path, "top")

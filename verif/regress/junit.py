"""JUnit XML of the nightly set, in the form that continuous-integration servers read."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from kestrel.verif.regress.results import Result

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(results: Sequence[Result]) -> str:
    """One suite for each configuration. A difference is a ``failure``, a crash is an ``error``."""
    root = ET.Element("testsuites", {"name": "kestrel regress", **_counts(results)})
    for config in dict.fromkeys(result.config for result in results):
        own = [result for result in results if result.config == config]
        suite = ET.SubElement(root, "testsuite", {"name": config, **_counts(own)})
        for result in own:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=f"regress.{config}",
                name=f"{result.kind}@{result.seed}",
                time=f"{result.seconds:.3f}",
            )
            if not result.passed:
                text = _NOT_XML.sub("?", result.message)
                kind = "error" if result.crashed else "failure"
                # The attribute holds one line, whatever the message: the last line of a crash names the
                # error.
                lines = text.strip().splitlines() or [""]
                outcome = ET.SubElement(case, kind, message=lines[-1 if result.crashed else 0])
                outcome.text = f"{text}\nrepeat: {result.repeat}\n"
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counts(results: Sequence[Result]) -> dict[str, str]:
    return {
        "tests": str(len(results)),
        "failures": str(sum(not result.passed and not result.crashed for result in results)),
        "errors": str(sum(not result.passed and result.crashed for result in results)),
        "time": f"{sum(result.seconds for result in results):.3f}",
    }

"""The arithmetic of stages: each is what a variant costs on top of those before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.tools.bench.stages import _stages
from reader.tools.bench.timing import Cost

CPU_US = st.floats(0, 1e4)


def cost(cpu_us: float) -> Cost:
    return Cost(num=1000, seconds=1.0, cpu_seconds=cpu_us * 1e-3)


@given(st.tuples(CPU_US, CPU_US, CPU_US, CPU_US, CPU_US))
def test_stages_add_up_to_the_whole(parts):
    read, crc, parse, decode, cast = parts
    costs = {
        "read": cost(read),
        "CRC": cost(read + crc),
        "parse": cost(read + crc + parse),
        "decode": cost(read + crc + parse + decode),
        "cast": cost(read + crc + parse + decode + cast),
    }
    found = {stage.name: stage.cpu_us for stage in _stages(costs)}
    named = ("read", "CRC", "parse", "decode", "cast")
    expected = (read, crc, parse, decode, cast)
    assert found == pytest.approx(
        dict(zip(named, expected, strict=True)), rel=1e-6, abs=1e-6
    )
    assert sum(found.values()) == pytest.approx(costs["cast"].cpu_us, abs=1e-3)


def test_noise_below_zero_is_shown_as_zero():
    costs = {name: cost(5) for name in ("read", "CRC", "decode")}
    costs["CRC"] = cost(4)
    found = {stage.name: stage for stage in _stages(costs)}
    assert found["CRC"].cpu_us == 0.0
    assert found["CRC"].per_core is None
    assert "cast" not in found

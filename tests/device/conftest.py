"""Fixtures of the board's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clock import Clock
from gpiozero import Device
from gpiozero.pins.mock import MockFactory


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    """Mock pins as gpiozero's pin factory."""
    before, Device.pin_factory = Device.pin_factory, MockFactory()
    yield Device.pin_factory
    Device.pin_factory.reset()
    Device.pin_factory = before

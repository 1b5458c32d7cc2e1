"""What several test files of the board share."""

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
    """gpiozero's mock pins instead of the board's."""
    before, Device.pin_factory = Device.pin_factory, MockFactory()
    yield Device.pin_factory
    Device.pin_factory.reset()
    Device.pin_factory = before

"""Converter drivers at the wire: mock pins, I2C messages, files of a sysfs tree."""

import importlib
import pkgutil
import random
import warnings

import pytest
from gpiozero import MCP3008, MCP3208

import device
from device.adc import Adc, AdcError
from device.ads1115 import Ads1115, Ads1115Chip
from device.chips import CHIPS
from device.i2c import I2cDevice, SimulatedI2c, open_i2c
from device.iio import ChannelFiles, Iio, find_iio
from device.mcp3xxx import Mcp3xxxChip, Mcp3008, Mcp3208
from device.spi import MOCK_LINES, SimulatedSpi, connect_to_mock_pins, open_spi, open_spi_pins

MCP_DRIVERS = pytest.mark.parametrize("driver", [Mcp3008, Mcp3208])


def chip_with(codes, bits):
    """A chip whose inputs are in the middle of these codes."""
    return Mcp3xxxChip([lambda code=code: (code + 0.5) / (1 << bits) for code in codes], bits)


@pytest.mark.parametrize(("driver", "peer"), [(Mcp3008, MCP3008), (Mcp3208, MCP3208)])
def test_mcp_driver_and_gpiozero_read_same_codes_from_pins(pins, driver, peer) -> None:
    top = (1 << driver.bits) - 1
    codes = [0, 1, top // 2, top // 2 + 1, top - 1, top, 5, random.Random(1).randrange(top)]
    connect_to_mock_pins(chip_with(codes, driver.bits), *MOCK_LINES)
    lines = {f"{name}_pin": line for name, line in MOCK_LINES._asdict().items()}
    for channel, code in enumerate(codes):
        with peer(channel=channel, **lines) as theirs:
            assert theirs.raw_value == code
    adc = driver(open_spi_pins(*MOCK_LINES), list(range(8)))
    assert adc.read() == codes
    assert adc.full_scale == top
    adc.close()


@MCP_DRIVERS
def test_mcp_transfers_give_same_bits_as_pins(driver) -> None:
    codes = [random.Random(driver.bits).randrange(1 << driver.bits) for _ in range(8)]
    adc = driver(SimulatedSpi(chip_with(codes, driver.bits)), [7, 0, 3])
    assert adc.read() == [codes[7], codes[0], codes[3]]


def test_simulated_mcp_differential_mode_matches_gpiozero(pins) -> None:
    connect_to_mock_pins(chip_with([700, 200, 0, 0, 0, 0, 0, 0], 10), *MOCK_LINES)
    lines = {f"{name}_pin": line for name, line in MOCK_LINES._asdict().items()}
    for channel, code in ((0, 500), (1, 0)):
        with MCP3008(channel=channel, differential=True, **lines) as adc:
            assert adc.raw_value == code


@MCP_DRIVERS
def test_mcp_driver_detects_missing_chip_by_null_bit(driver) -> None:
    chip = chip_with([512] * 8, driver.bits)
    adc = driver(SimulatedSpi(chip), [0, 1])
    adc.read()
    chip.present = False
    with pytest.raises(AdcError, match=r"no chip answers.*MISO"):
        adc.read()
    chip.present = True
    assert adc.read() == [512, 512]


def test_disabled_bus_error_contains_remedy(tmp_path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/config.txt").touch()
    with pytest.raises(AdcError, match=r"spidev0\.0.*dtparam=spi=on"):
        open_spi(0, 0, tmp_path)
    with pytest.raises(AdcError, match=r"i2c-1.*dtparam=i2c_arm=on"):
        open_i2c(1, 0x48, tmp_path)


def test_open_spi_does_not_fall_back_to_software_spi(pins, tmp_path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/spidev0.0").touch()

    def no_bus(shared, hardware):
        if hardware:
            raise OSError("busy")

    pins._get_spi_class = no_bus
    with warnings.catch_warnings(), pytest.raises(AdcError, match="busy"):
        open_spi(0, 0, tmp_path)


def ads1115(volts: list[float], conversion_reads: int = 0) -> tuple[Ads1115Chip, I2cDevice]:
    """A chip with these voltages at its inputs, and the wire to it."""
    chip = Ads1115Chip([lambda v=v: v / 3.3 for v in volts], conversion_reads)
    return chip, I2cDevice(SimulatedI2c({0x48: chip}), 0x48)


@pytest.mark.parametrize("conversion_reads", [0, 2])
def test_ads1115_reads_each_input_in_turn(conversion_reads) -> None:
    _, wire = ads1115([0.0, 1.1, 2.2, 3.3], conversion_reads)
    adc = Ads1115(wire, [3, 1, 0, 2])
    latest = [None] * 4
    for _ in range(20):
        for index, code in enumerate(adc.read()):
            latest[index] = code if code is not None else latest[index]
    fractions = [code / adc.full_scale for code in latest]
    assert fractions == pytest.approx([1, 1 / 3, 0, 2 / 3], abs=1e-4)


def test_ads1115_writes_single_shot_config_of_the_data_sheet() -> None:
    """SBAS444, table 8: input 2 to ground, +-4.096 V, single shot, 860 a second, no comparator."""

    class Recorder:
        sent: tuple[int, int, list[int]]

        def write_i2c_block_data(self, address, register, data) -> None:
            self.sent = (address, register, data)

    bus = Recorder()
    Ads1115(I2cDevice(bus, 0x49), [2]).read()
    assert bus.sent == (0x49, 1, [0xE3, 0xE3])


def test_ads1115_reads_0_below_ground() -> None:
    _, wire = ads1115([-0.01])
    adc = Ads1115(wire, [0])
    adc.read()
    assert adc.read() == [0]


def test_unplugged_ads1115_fails_and_recovers() -> None:
    chip, wire = ads1115([0.0])
    adc = Ads1115(wire, [0])
    adc.read()
    chip.present = False
    with pytest.raises(AdcError, match=r"Remote I/O.*SDA"):
        adc.read()
    chip.present = True
    assert adc.read() == [None]  # starts a conversion
    assert adc.read() == [0]


@pytest.fixture
def sysfs(tmp_path):
    """A tree with a BeagleBone's converter and an MCP3008 of the kernel's driver."""
    for number, (name, count) in enumerate((("TI-am335x-adc.0.auto", 7), ("mcp3008", 8))):
        folder = tmp_path / f"sys/bus/iio/devices/iio:device{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
        for channel in range(count):
            (folder / f"in_voltage{channel}_raw").write_text(f"{100 * number + channel}\n")
    return tmp_path


def test_iio_finds_device_by_name_and_rereads_its_files(sysfs) -> None:
    folder = find_iio("mcp3008", sysfs)
    adc = Iio(ChannelFiles(folder), [2, 0], 10)
    assert adc.read() == [102, 100]
    (folder / "in_voltage2_raw").write_text("1023\n")
    assert adc.read() == [1023, 100]
    adc.close()
    assert find_iio("TI-am335x-adc", sysfs).name == "iio:device0"


@pytest.mark.parametrize(
    ("text", "says"), [("", "driver"), ("x\n", "driver"), ("1024\n", "bits"), ("-5\n", "bits")]
)
def test_iio_rejects_invalid_code(sysfs, text, says) -> None:
    folder = find_iio("mcp3008", sysfs)
    adc = Iio(ChannelFiles(folder), [0], 10)
    (folder / "in_voltage0_raw").write_text(text)
    with pytest.raises(AdcError, match=says):
        adc.read()
    adc.close()


def test_iio_error_lists_devices_and_missing_channel(sysfs, tmp_path) -> None:
    with pytest.raises(AdcError, match=r"TI-am335x-adc\.0\.auto, mcp3008"):
        find_iio("ads1015", sysfs)
    with pytest.raises(AdcError, match="overlay"):
        find_iio("mcp3008", tmp_path / "nothing")
    with pytest.raises(AdcError, match=r"in_voltage9_raw.*channel"):
        Iio(ChannelFiles(find_iio("mcp3008", sysfs)), [0, 9], 10)


def test_every_driver_is_in_the_table_of_chips() -> None:
    for module in pkgutil.iter_modules(device.__path__, "device."):
        importlib.import_module(module.name)
    found, classes = set(), [Adc]
    while classes:
        driver = classes.pop()
        classes += driver.__subclasses__()
        found |= {driver.name} if "name" in vars(driver) else set()
    assert found == set(CHIPS)

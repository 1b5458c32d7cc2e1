"""Converters at the wire: bits through gpiozero's mock pins, messages of an I2C bus, files of a sysfs tree."""

import errno
import random
import warnings

import pytest
from gpiozero import MCP3008, MCP3208, Device
from gpiozero.pins.mock import MockFactory

from device.adc import AdcError, Ads1115, Iio, Mcp3xxx, find_iio, open_i2c, open_spi, open_spi_pins
from device.simulated import MOCK_SPI_PINS, Mcp3xxxChip, SimulatedSpi, hang_on_mock_pins


@pytest.fixture
def pins():
    before, Device.pin_factory = Device.pin_factory, MockFactory()
    yield Device.pin_factory
    Device.pin_factory.reset()
    Device.pin_factory = before


def chip_with(codes, bits):
    """A chip whose inputs stand in the middle of these codes."""
    return Mcp3xxxChip([lambda code=code: (code + 0.5) / (1 << bits) for code in codes], bits)


@pytest.mark.parametrize(("bits", "peer"), [(10, MCP3008), (12, MCP3208)])
def test_driver_and_gpiozero_read_the_same_codes_from_the_pins(pins, bits, peer) -> None:
    top = (1 << bits) - 1
    codes = [0, 1, top // 2, top // 2 + 1, top - 1, top, 5, random.Random(1).randrange(top)]
    chip = chip_with(codes, bits)
    hang_on_mock_pins(chip, *MOCK_SPI_PINS)
    clock, mosi, miso, select = MOCK_SPI_PINS
    for channel, code in enumerate(codes):
        with peer(
            channel=channel, clock_pin=clock, mosi_pin=mosi, miso_pin=miso, select_pin=select
        ) as theirs:
            assert theirs.raw_value == code
    adc = Mcp3xxx(open_spi_pins(*MOCK_SPI_PINS), bits, list(range(8)), "test")
    assert adc.read() == codes
    assert adc.full_scale == top
    adc.close()


@pytest.mark.parametrize("bits", [10, 12])
def test_whole_transfers_are_the_same_bits_as_the_pins(pins, bits) -> None:
    codes = [random.Random(bits).randrange(1 << bits) for _ in range(8)]
    adc = Mcp3xxx(SimulatedSpi(chip_with(codes, bits)), bits, [7, 0, 3], "test")
    assert adc.read() == [codes[7], codes[0], codes[3]]


def test_differential_mode_of_the_simulated_chip_matches_gpiozero(pins) -> None:
    hang_on_mock_pins(chip_with([700, 200, 0, 0, 0, 0, 0, 0], 10), *MOCK_SPI_PINS)
    clock, mosi, miso, select = MOCK_SPI_PINS
    for channel, code in ((0, 500), (1, 0)):
        with MCP3008(
            channel=channel,
            differential=True,
            clock_pin=clock,
            mosi_pin=mosi,
            miso_pin=miso,
            select_pin=select,
        ) as adc:
            assert adc.raw_value == code


@pytest.mark.parametrize("bits", [10, 12])
def test_a_missing_chip_is_noticed_by_its_null_bit(bits) -> None:
    chip = chip_with([512] * 8, bits)
    adc = Mcp3xxx(SimulatedSpi(chip), bits, [0, 1], "profile.toml, adc 1")
    adc.read()
    chip.present = False
    with pytest.raises(AdcError, match=r"profile\.toml, adc 1.*MISO"):
        adc.read()
    chip.present = True
    assert adc.read() == [512, 512]


def test_a_bus_that_is_off_is_told_with_the_remedy(tmp_path) -> None:
    with pytest.raises(AdcError, match=r"spidev0\.0.*dtparam=spi=on"):
        open_spi(0, 0, tmp_path)
    with pytest.raises(AdcError, match=r"i2c-1.*dtparam=i2c_arm=on"):
        open_i2c(1, tmp_path)


def test_software_spi_does_not_stand_in_for_the_hardware_bus_unasked(pins, tmp_path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/spidev0.0").touch()
    pins._get_spi_class = lambda shared, hardware: (
        (_ for _ in ()).throw(OSError("busy")) if hardware else None
    )
    with warnings.catch_warnings(), pytest.raises(AdcError, match="busy"):
        open_spi(0, 0, tmp_path)


class FakeI2c:
    """A bus with ADS1115s: SBAS444's registers as messages. A conversion takes conversion_reads looks at the config register."""

    def __init__(self, volts: dict[int, list[float]], conversion_reads: int = 0) -> None:
        self.volts = volts
        self.conversion_reads = conversion_reads
        self.plugged = True
        self._registers: dict[tuple[int, int], int] = {}
        self._busy = dict.fromkeys(volts, 0)

    def _there(self, address):
        if not self.plugged or address not in self.volts:
            raise OSError(errno.EREMOTEIO, "Remote I/O error")

    def write_i2c_block_data(self, address, register, data) -> None:
        self._there(address)
        word = data[0] << 8 | data[1]
        assert register == 1
        assert word & 0x8000  # begin
        mux = word >> 12 & 7
        assert mux >= 4  # single-ended
        full = {0: 6.144, 1: 4.096, 2: 2.048}[word >> 9 & 7]
        code = max(-32768, min(32767, round(self.volts[address][mux - 4] / full * 32768)))
        self._registers[address, 0] = code & 0xFFFF
        self._busy[address] = self.conversion_reads

    def read_i2c_block_data(self, address, register, length):
        self._there(address)
        assert length == 2
        if register == 1:
            word = 0x8583 & ~(0x8000 if self._busy[address] else 0)
            self._busy[address] = max(0, self._busy[address] - 1)
        else:
            word = self._registers[address, 0]
        return [word >> 8, word & 0xFF]

    def close(self) -> None:
        pass


@pytest.mark.parametrize("conversion_reads", [0, 2])
def test_ads1115_gives_each_input_its_own_code_in_turn(conversion_reads) -> None:
    volts = [0.0, 1.1, 2.2, 3.3]
    adc = Ads1115(FakeI2c({0x48: volts}, conversion_reads), 0x48, [3, 1, 0, 2], "test")
    latest = [None] * 4
    for _ in range(20):
        for index, code in enumerate(adc.read()):
            latest[index] = code if code is not None else latest[index]
    assert [code / adc.full_scale for code in latest] == pytest.approx(
        [1, 1 / 3, 0, 2 / 3], abs=1e-4
    )


def test_ads1115_below_ground_reads_0_and_an_unplugged_one_says_so() -> None:
    bus = FakeI2c({0x48: [-0.01]})
    adc = Ads1115(bus, 0x48, [0], "profile.toml, adc 1")
    adc.read()
    assert adc.read() == [0]
    bus.plugged = False
    with pytest.raises(AdcError, match=r"adc 1.*Remote I/O.*SDA"):
        adc.read()
    bus.plugged = True
    assert adc.read() == [None]  # begins anew
    assert adc.read() == [0]


@pytest.fixture
def sysfs(tmp_path):
    """A tree like that of a BeagleBone beside an MCP3008 under the kernel's driver."""
    for number, (name, count) in enumerate((("TI-am335x-adc.0.auto", 7), ("mcp3008", 8))):
        folder = tmp_path / f"sys/bus/iio/devices/iio:device{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
        for channel in range(count):
            (folder / f"in_voltage{channel}_raw").write_text(f"{100 * number + channel}\n")
    return tmp_path


def test_iio_finds_the_device_by_name_and_reads_it_again_each_time(sysfs) -> None:
    folder = find_iio("mcp3008", sysfs)
    adc = Iio(folder, 10, [2, 0], "test")
    assert adc.read() == [102, 100]
    (folder / "in_voltage2_raw").write_text("1023\n")
    assert adc.read() == [1023, 100]
    adc.close()
    assert find_iio("TI-am335x-adc", sysfs).name == "iio:device0"


@pytest.mark.parametrize(
    ("text", "says"), [("", "driver"), ("x\n", "driver"), ("1024\n", "bits"), ("-5\n", "bits")]
)
def test_iio_nonsense_is_an_error(sysfs, text, says) -> None:
    folder = find_iio("mcp3008", sysfs)
    adc = Iio(folder, 10, [0], "profile.toml, adc 1")
    (folder / "in_voltage0_raw").write_text(text)
    with pytest.raises(AdcError, match=f"adc 1.*{says}"):
        adc.read()
    adc.close()


def test_iio_missing_device_or_channel_names_what_there_is(sysfs, tmp_path) -> None:
    with pytest.raises(AdcError, match=r"TI-am335x-adc\.0\.auto, mcp3008"):
        find_iio("ads1015", sysfs)
    with pytest.raises(AdcError, match="overlay"):
        find_iio("mcp3008", tmp_path / "nothing")
    with pytest.raises(AdcError, match=r"in_voltage9_raw.*channel"):
        Iio(find_iio("mcp3008", sysfs), 10, [0, 9], "test")

// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Simulated parts of the board: an MCP3008 on a SPI bus, and a gpiochip with switches and LEDs.
 *
 * The drivers for them are the kernel's: /dev/spidev0.0 (or the IIO driver mcp320x),
 * /dev/gpiochipN.
 *
 *   /sys/module/pedal_sim/parameters/
 *     pots      8 numbers 0..1023, the positions of the pots        read, write
 *     present   0: the converter is disconnected, MISO floats high  read, write
 *     pull      "LINE LEVEL": drives a line from outside            write
 *     levels    32 characters 0 or 1: the level of each line        read
 *     iio       1: chip select 0 is bound to the kernel's mcp320x   at loading
 */
#include <linux/gpio/driver.h>
#include <linux/irq_work.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/spi/spi.h>

#define LINES 32

static int pots[8];
static int pot_count = 8;
module_param_array(pots, int, &pot_count, 0644);
static bool present = true;
module_param(present, bool, 0644);
static bool iio;
module_param(iio, bool, 0444);

static struct platform_device *board;
static struct spi_controller *bus;
static bool bus_registered;

/* ---- MCP3008, data sheet DS21295 figure 5-1, clock by clock: DIN in, DOUT out ---- */

struct shifter {
	int clock;		/* since the start bit; -1 before it */
	unsigned int command;	/* SGL/DIFF D2 D1 D0 */
	unsigned int code;
};

static unsigned int convert(unsigned int command)
{
	unsigned int channel = command & 7;

	if (command & 8)
		return clamp(pots[channel], 0, 1023);
	return clamp(pots[channel] - pots[channel ^ 1], 0, 1023);
}

static int shift(struct shifter *s, int din)
{
	if (s->clock < 0) {
		if (din)
			s->clock = 0;
		return 1; /* DOUT is not driven; the pull-up wins */
	}
	s->clock++;
	if (s->clock <= 4)
		s->command = s->command << 1 | din;
	if (s->clock == 4)
		s->code = convert(s->command);
	if (s->clock < 6)
		return 1;
	if (s->clock == 6)
		return 0; /* the null bit */
	return s->clock <= 16 ? s->code >> (16 - s->clock) & 1 : 0;
}

static int transfer_message(struct spi_controller *controller, struct spi_message *message)
{
	struct spi_transfer *t;
	struct shifter s = { .clock = -1 };
	unsigned int i;

	message->actual_length = 0;
	list_for_each_entry(t, &message->transfers, transfer_list) {
		const u8 *out = t->tx_buf;
		u8 *in = t->rx_buf;

		for (i = 0; i < 8 * t->len; i++) {
			int dout = shift(&s, out ? out[i / 8] >> (7 - i % 8) & 1 : 0);

			if (!present)
				dout = 1;
			if (in) {
				if (i % 8 == 0)
					in[i / 8] = 0;
				in[i / 8] |= dout << (7 - i % 8);
			}
		}
		if (t->cs_change)
			s = (struct shifter){ .clock = -1 };
		message->actual_length += t->len;
	}
	message->status = 0;
	spi_finalize_current_message(controller);
	return 0;
}

static int add_bus(void)
{
	/* "dh2228fv" is one of the names that the spidev driver accepts. */
	struct spi_board_info chip = { .max_speed_hz = 1350000, .chip_select = 0 };
	int error;

	strscpy(chip.modalias, iio ? "mcp3008" : "dh2228fv", sizeof(chip.modalias));
	bus = spi_alloc_master(&board->dev, 0);
	if (!bus)
		return -ENOMEM;
	bus->bus_num = 0;
	bus->num_chipselect = 1;
	bus->mode_bits = SPI_CPOL | SPI_CPHA | SPI_CS_HIGH;
	bus->transfer_one_message = transfer_message;
	error = spi_register_controller(bus);
	if (error) {
		spi_controller_put(bus);
		return error;
	}
	bus_registered = true;
	return spi_new_device(bus, &chip) ? 0 : -ENODEV;
}

/* ---- lines: driven from outside (a switch) or by the pedal (an LED) ---- */

static DECLARE_BITMAP(outside, LINES);
static DECLARE_BITMAP(driven, LINES);
static DECLARE_BITMAP(is_output, LINES);
static DECLARE_BITMAP(enabled, LINES);
static DECLARE_BITMAP(pending, LINES);
static unsigned int edges[LINES];
static bool lines_there;

static int line_get(struct gpio_chip *chip, unsigned int line)
{
	return test_bit(line, test_bit(line, is_output) ? driven : outside);
}

static void line_set(struct gpio_chip *chip, unsigned int line, int level)
{
	assign_bit(line, driven, level);
}

static int line_input(struct gpio_chip *chip, unsigned int line)
{
	clear_bit(line, is_output);
	return 0;
}

static int line_output(struct gpio_chip *chip, unsigned int line, int level)
{
	assign_bit(line, driven, level);
	set_bit(line, is_output);
	return 0;
}

static int line_direction(struct gpio_chip *chip, unsigned int line)
{
	return test_bit(line, is_output) ? GPIO_LINE_DIRECTION_OUT : GPIO_LINE_DIRECTION_IN;
}

static int line_config(struct gpio_chip *chip, unsigned int line, unsigned long config)
{
	return 0; /* pull-ups and debouncing have no effect here */
}

static void edge_mask(struct irq_data *data)
{
	clear_bit(irqd_to_hwirq(data), enabled);
	gpiochip_disable_irq(irq_data_get_irq_chip_data(data), irqd_to_hwirq(data));
}

static void edge_unmask(struct irq_data *data)
{
	gpiochip_enable_irq(irq_data_get_irq_chip_data(data), irqd_to_hwirq(data));
	set_bit(irqd_to_hwirq(data), enabled);
}

static int edge_type(struct irq_data *data, unsigned int type)
{
	if (type & IRQ_TYPE_LEVEL_MASK)
		return -EINVAL;
	edges[irqd_to_hwirq(data)] = type;
	return 0;
}

static const struct irq_chip edge_chip = {
	.name = "pedal-sim",
	.irq_mask = edge_mask,
	.irq_unmask = edge_unmask,
	.irq_set_type = edge_type,
	.flags = IRQCHIP_IMMUTABLE,
	GPIOCHIP_IRQ_RESOURCE_HELPERS,
};

static struct gpio_chip lines = {
	.label = "pedal-sim",
	.owner = THIS_MODULE,
	.base = -1,
	.ngpio = LINES,
	.get = line_get,
	.set = line_set,
	.direction_input = line_input,
	.direction_output = line_output,
	.get_direction = line_direction,
	.set_config = line_config,
};

static void raise_edges(struct irq_work *work)
{
	unsigned int line;

	for_each_set_bit(line, pending, LINES)
		if (test_and_clear_bit(line, pending))
			generic_handle_domain_irq(lines.irq.domain, line);
}

static struct irq_work edge_work = IRQ_WORK_INIT_HARD(raise_edges);

static int pull_set(const char *text, const struct kernel_param *param)
{
	unsigned int line, level, edge;

	if (sscanf(text, "%u %u", &line, &level) != 2 || line >= LINES || level > 1)
		return -EINVAL;
	if (!lines_there)
		return -ENODEV;
	if (test_bit(line, outside) == level)
		return 0;
	assign_bit(line, outside, level);
	edge = level ? IRQ_TYPE_EDGE_RISING : IRQ_TYPE_EDGE_FALLING;
	if (test_bit(line, enabled) && edges[line] & edge) {
		set_bit(line, pending);
		irq_work_queue(&edge_work);
	}
	return 0;
}

static const struct kernel_param_ops pull_ops = { .set = pull_set };
module_param_cb(pull, &pull_ops, NULL, 0200);

static int levels_get(char *text, const struct kernel_param *param)
{
	unsigned int line;

	for (line = 0; line < LINES; line++)
		text[line] = '0' + line_get(&lines, line);
	text[LINES] = '\n';
	return LINES + 1;
}

static const struct kernel_param_ops levels_ops = { .get = levels_get };
module_param_cb(levels, &levels_ops, NULL, 0444);

static int add_lines(void)
{
	bitmap_fill(outside, LINES); /* pull-ups */
	lines.parent = &board->dev;
	gpio_irq_chip_set_chip(&lines.irq, &edge_chip);
	lines.irq.handler = handle_simple_irq;
	lines.irq.default_type = IRQ_TYPE_NONE;
	return gpiochip_add_data(&lines, NULL);
}

static void leave(void)
{
	if (bus_registered)
		spi_unregister_controller(bus);
	if (lines_there) {
		lines_there = false;
		irq_work_sync(&edge_work);
		gpiochip_remove(&lines);
	}
	platform_device_unregister(board);
}

static int __init enter(void)
{
	int error;

	board = platform_device_register_simple("pedal-sim", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(board))
		return PTR_ERR(board);
	error = add_lines();
	if (!error) {
		lines_there = true;
		error = add_bus();
	}
	if (error)
		leave();
	return error;
}

static void __exit leave_module(void)
{
	leave();
}

module_init(enter);
module_exit(leave_module);
MODULE_LICENSE("Dual BSD/GPL");
MODULE_DESCRIPTION("Simulated MCP3008 on a simulated SPI bus, and a simulated gpiochip");

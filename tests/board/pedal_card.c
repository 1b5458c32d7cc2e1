// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Made-up sound cards: a tone is at their inputs, what leaves their outputs is measured. With the
 * mixer of a codec that is mute until it is set, as after each power-on.
 *
 *   modprobe pedal_card id=hdmi,USB records=0,1 rate=0,44100 mixer=0,1
 *
 *   id       ALSA's identifier of each card
 *   plays    1 (default): it has an output
 *   records  1 (default): it has an input
 *   rate     the only rate that it can; 0 (default): any from 8000 to 96000
 *   mixer    1: it has a mixer, with controls of a WM8731 on a Raspberry Pi; 0 (default): none
 *
 *   /sys/module/pedal_card/parameters/heard   loudest sample of each card's last period, 0..32767
 *
 * The tone is a square wave with the peak TONE while the mixer's gains are 0 dB. To pull a card and
 * put it back, unbind and bind it in /sys/bus/platform/drivers/pedal_card: its mixer is mute again.
 */
#include <linux/hrtimer.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <sound/control.h>
#include <sound/core.h>
#include <sound/initval.h>
#include <sound/pcm.h>
#include <sound/tlv.h>

#define CARDS 4
#define TONE 8000
#define HALF_WAVE 24 /* frames: 1 kHz at 48 kHz */
#define BUFFER_BYTES (64 * 1024)

static char *id[CARDS];
static int cards;
module_param_array(id, charp, &cards, 0444);
static int plays[CARDS] = { 1, 1, 1, 1 };
module_param_array(plays, int, NULL, 0444);
static int records[CARDS] = { 1, 1, 1, 1 };
module_param_array(records, int, NULL, 0444);
static int rate[CARDS];
module_param_array(rate, int, NULL, 0444);
static int mixer[CARDS];
module_param_array(mixer, int, NULL, 0444);
static int heard[CARDS];
module_param_array(heard, int, NULL, 0444);

static struct platform_device *devices[CARDS];

/* ---- the mixer ---- */

enum { MASTER, CAPTURE, LINE, HIFI, MUX, CONTROLS };

struct made_up {
	int number;
	int values[CONTROLS][2];
};

static const DECLARE_TLV_DB_SCALE(master_db, -12100, 100, 1);
static const DECLARE_TLV_DB_SCALE(capture_db, -3450, 150, 0);

static const struct control {
	const char *name;
	int channels, high, unity, first; /* first: after power-on */
	const unsigned int *tlv;
} table[CONTROLS] = {
	[MASTER] = { "Master Playback Volume", 2, 127, 121, 0, master_db },
	[CAPTURE] = { "Capture Volume", 2, 31, 23, 0, capture_db },
	[LINE] = { "Line Capture Switch", 2, 1, 0, 0 },
	[HIFI] = { "Output Mixer HiFi Playback Switch", 1, 1, 0, 0 },
	[MUX] = { "Input Mux", 1, 1, 0, 0 },
};
static const char *const inputs[] = { "Line In", "Mic" };

/* In steps of 6 dB, which double: enough to tell loud from quiet. */
static int amplified(int sample, const struct control *control, int value)
{
	int step_db100 = control == &table[MASTER] ? 100 : 150;
	int db100 = (value - control->unity) * step_db100;

	for (; db100 <= -600; db100 += 600)
		sample /= 2;
	for (; db100 >= 600; db100 -= 600)
		sample *= 2;
	return clamp(sample, -32768, 32767);
}

static int at_input(struct made_up *card, int sample)
{
	if (!mixer[card->number])
		return sample;
	if (!card->values[LINE][0] || card->values[MUX][0] != 0)
		return 0;
	return amplified(sample, &table[CAPTURE], card->values[CAPTURE][0]);
}

static int at_output(struct made_up *card, int sample)
{
	if (!mixer[card->number])
		return sample;
	if (!card->values[HIFI][0] || !card->values[MASTER][0])
		return 0;
	return amplified(sample, &table[MASTER], card->values[MASTER][0]);
}

static int control_info(struct snd_kcontrol *kcontrol, struct snd_ctl_elem_info *info)
{
	const struct control *control = &table[kcontrol->private_value];

	if (kcontrol->private_value == MUX)
		return snd_ctl_enum_info(info, 1, 2, inputs);
	info->type = control->high > 1 ? SNDRV_CTL_ELEM_TYPE_INTEGER : SNDRV_CTL_ELEM_TYPE_BOOLEAN;
	info->count = control->channels;
	info->value.integer.min = 0;
	info->value.integer.max = control->high;
	return 0;
}

static int control_get(struct snd_kcontrol *kcontrol, struct snd_ctl_elem_value *value)
{
	struct made_up *card = snd_kcontrol_chip(kcontrol);
	int *values = card->values[kcontrol->private_value];

	if (kcontrol->private_value == MUX) {
		value->value.enumerated.item[0] = values[0];
	} else {
		value->value.integer.value[0] = values[0];
		value->value.integer.value[1] = values[1];
	}
	return 0;
}

static int control_put(struct snd_kcontrol *kcontrol, struct snd_ctl_elem_value *value)
{
	struct made_up *card = snd_kcontrol_chip(kcontrol);
	const struct control *control = &table[kcontrol->private_value];
	int *values = card->values[kcontrol->private_value];
	int channel, new, changed = 0;

	for (channel = 0; channel < control->channels; channel++) {
		if (kcontrol->private_value == MUX)
			new = value->value.enumerated.item[0];
		else
			new = value->value.integer.value[channel];
		if (new < 0 || new > control->high)
			return -EINVAL;
		changed |= new != values[channel];
		values[channel] = new;
	}
	return changed;
}

static int add_mixer(struct snd_card *card)
{
	struct made_up *own = card->private_data;
	int i, err;

	for (i = 0; i < CONTROLS; i++) {
		struct snd_kcontrol_new new = {
			.iface = SNDRV_CTL_ELEM_IFACE_MIXER, .name = table[i].name, .private_value = i,
			.access = SNDRV_CTL_ELEM_ACCESS_READWRITE |
				  (table[i].tlv ? SNDRV_CTL_ELEM_ACCESS_TLV_READ : 0),
			.info = control_info, .get = control_get, .put = control_put, .tlv.p = table[i].tlv,
		};

		own->values[i][0] = own->values[i][1] = table[i].first;
		err = snd_ctl_add(card, snd_ctl_new1(&new, own));
		if (err < 0)
			return err;
	}
	return 0;
}

/* ---- sound: a timer of each direction, a period at a time ---- */

struct side {
	struct hrtimer timer;
	struct snd_pcm_substream *substream;
	struct made_up *card;
	ktime_t period;
	snd_pcm_uframes_t position;
	unsigned int phase;
	atomic_t running;
};

static void pass_period(struct side *side)
{
	struct snd_pcm_runtime *runtime = side->substream->runtime;
	bool output = side->substream->stream == SNDRV_PCM_STREAM_PLAYBACK;
	unsigned int channels = runtime->channels, c;
	snd_pcm_uframes_t i;
	int loudest = 0;

	for (i = 0; i < runtime->period_size; i++) {
		s16 *frame = (s16 *)runtime->dma_area + side->position * channels;
		int tone = side->phase++ / HALF_WAVE % 2 ? TONE : -TONE;

		for (c = 0; c < channels; c++) {
			if (output)
				loudest = max(loudest, abs(at_output(side->card, frame[c])));
			else
				frame[c] = at_input(side->card, tone);
		}
		if (++side->position == runtime->buffer_size)
			side->position = 0;
	}
	if (output)
		heard[side->card->number] = loudest;
}

static enum hrtimer_restart tick(struct hrtimer *timer)
{
	struct side *side = container_of(timer, struct side, timer);

	if (!atomic_read(&side->running))
		return HRTIMER_NORESTART;
	pass_period(side);
	snd_pcm_period_elapsed(side->substream); /* may stop it */
	if (!atomic_read(&side->running))
		return HRTIMER_NORESTART;
	hrtimer_forward_now(timer, side->period);
	return HRTIMER_RESTART;
}

static int side_open(struct snd_pcm_substream *substream)
{
	struct made_up *card = substream->private_data;
	int only = rate[card->number];
	struct side *side = kzalloc(sizeof(*side), GFP_KERNEL);

	if (!side)
		return -ENOMEM;
	hrtimer_init(&side->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	side->timer.function = tick;
	side->substream = substream;
	side->card = card;
	substream->runtime->private_data = side;
	substream->runtime->hw = (struct snd_pcm_hardware){
		.info = SNDRV_PCM_INFO_MMAP | SNDRV_PCM_INFO_MMAP_VALID |
			SNDRV_PCM_INFO_INTERLEAVED | SNDRV_PCM_INFO_BATCH,
		.formats = SNDRV_PCM_FMTBIT_S16_LE,
		.rates = only ? snd_pcm_rate_to_rate_bit(only) : SNDRV_PCM_RATE_8000_96000,
		.rate_min = only ? only : 8000,
		.rate_max = only ? only : 96000,
		.channels_min = 2, .channels_max = 2,
		.buffer_bytes_max = BUFFER_BYTES,
		.period_bytes_min = 64, .period_bytes_max = BUFFER_BYTES / 2,
		.periods_min = 2, .periods_max = 64,
	};
	return snd_pcm_hw_constraint_integer(substream->runtime, SNDRV_PCM_HW_PARAM_PERIODS);
}

static int side_close(struct snd_pcm_substream *substream)
{
	struct side *side = substream->runtime->private_data;

	hrtimer_cancel(&side->timer);
	kfree(side);
	return 0;
}

static int side_prepare(struct snd_pcm_substream *substream)
{
	struct snd_pcm_runtime *runtime = substream->runtime;
	struct side *side = runtime->private_data;

	hrtimer_cancel(&side->timer);
	side->position = 0;
	side->period = ns_to_ktime(div_u64((u64)runtime->period_size * NSEC_PER_SEC, runtime->rate));
	return 0;
}

static int side_trigger(struct snd_pcm_substream *substream, int command)
{
	struct side *side = substream->runtime->private_data;

	switch (command) {
	case SNDRV_PCM_TRIGGER_START:
		atomic_set(&side->running, 1);
		hrtimer_start(&side->timer, side->period, HRTIMER_MODE_REL_SOFT);
		return 0;
	case SNDRV_PCM_TRIGGER_STOP:
		atomic_set(&side->running, 0);
		if (substream->stream == SNDRV_PCM_STREAM_PLAYBACK)
			heard[side->card->number] = 0;
		return 0;
	}
	return -EINVAL;
}

static snd_pcm_uframes_t side_pointer(struct snd_pcm_substream *substream)
{
	struct side *side = substream->runtime->private_data;

	return side->position;
}

static const struct snd_pcm_ops side_ops = {
	.open = side_open, .close = side_close, .prepare = side_prepare,
	.trigger = side_trigger, .pointer = side_pointer,
};

/* ---- cards ---- */

static int card_probe(struct platform_device *device)
{
	int number = device->id, err;
	struct snd_card *card;
	struct made_up *own;
	struct snd_pcm *pcm;

	err = snd_card_new(&device->dev, -1, id[number], THIS_MODULE, sizeof(*own), &card);
	if (err < 0)
		return err;
	own = card->private_data;
	own->number = number;
	strscpy(card->driver, "pedal_card", sizeof(card->driver));
	strscpy(card->shortname, id[number], sizeof(card->shortname));
	strscpy(card->longname, id[number], sizeof(card->longname));
	strscpy(card->mixername, "made up", sizeof(card->mixername));
	err = snd_pcm_new(card, "pedal_card", 0, !!plays[number], !!records[number], &pcm);
	if (err < 0)
		goto free;
	pcm->private_data = own;
	strscpy(pcm->name, "pedal_card", sizeof(pcm->name));
	if (plays[number])
		snd_pcm_set_ops(pcm, SNDRV_PCM_STREAM_PLAYBACK, &side_ops);
	if (records[number])
		snd_pcm_set_ops(pcm, SNDRV_PCM_STREAM_CAPTURE, &side_ops);
	snd_pcm_set_managed_buffer_all(pcm, SNDRV_DMA_TYPE_VMALLOC, NULL, BUFFER_BYTES, BUFFER_BYTES);
	if (mixer[number])
		err = add_mixer(card);
	if (err >= 0)
		err = snd_card_register(card);
	if (err < 0)
		goto free;
	platform_set_drvdata(device, card);
	return 0;
free:
	snd_card_free(card);
	return err;
}

static int card_remove(struct platform_device *device)
{
	snd_card_free(platform_get_drvdata(device));
	return 0;
}

static struct platform_driver card_driver = {
	.probe = card_probe, .remove = card_remove, .driver = { .name = "pedal_card" },
};

static int __init pedal_card_init(void)
{
	int i, err = platform_driver_register(&card_driver);

	for (i = 0; !err && i < cards; i++) {
		devices[i] = platform_device_register_simple("pedal_card", i, NULL, 0);
		if (IS_ERR(devices[i]))
			devices[i] = NULL;
	}
	return err;
}

static void __exit pedal_card_exit(void)
{
	int i;

	for (i = 0; i < cards; i++)
		platform_device_unregister(devices[i]);
	platform_driver_unregister(&card_driver);
}

module_init(pedal_card_init);
module_exit(pedal_card_exit);
MODULE_DESCRIPTION("made-up sound cards for nverb's acceptance test");
MODULE_LICENSE("Dual BSD/GPL");

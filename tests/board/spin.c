/*
 * Keeps an emulated processor from being idle: an endless loop at the lowest priority.
 *
 * The guest's clock counts instructions. In an idle guest there are none, so qemu lets the clock
 * follow this machine (it jumps when this machine is busy) or skips to the next timer (the answer
 * of a disk seems to take seconds). With this loop time passes evenly.
 *
 * An emulated nop costs almost nothing, a jump costs some ns. More nops per jump save work on this
 * machine for each idle second of the guest; with too many, that second ends before a disk or an
 * ssh client can answer.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <unistd.h>

int main(void)
{
	struct sched_param none = { 0 };

	setsid();
	sched_setscheduler(0, SCHED_IDLE, &none);
	for (;;)
		__asm__ volatile(".rept 16\n\tnop\n\t.endr");
}

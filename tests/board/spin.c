/*
 * Keeps an emulated processor from ever being idle: a loop at the lowest priority there is, below that of any other program.
 *
 * The guest's clock counts instructions. While a guest is idle there are none to count, and qemu either lets its clock follow this
 * machine's (which jumps when this machine is busy) or leap to the next timer (which makes a disk's answer seem to take seconds).
 * With this loop there are always instructions, and time passes evenly.
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
		;
}

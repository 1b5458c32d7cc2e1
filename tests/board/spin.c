/*
 * Keeps an emulated processor from ever being idle: a loop at the lowest priority there is, below that of any other program.
 *
 * The guest's clock counts instructions. While a guest is idle there are none to count, and qemu either lets its clock follow this
 * machine's (which jumps when this machine is busy) or leap to the next timer (which makes a disk's answer seem to take seconds).
 * With this loop there are always instructions, and time passes evenly.
 *
 * An emulated nop costs next to nothing, a jump costs some ns: the more nops to a jump, the less this machine works for a second of
 * the guest's idleness. Too many, and that second is over before a disk or an ssh client has answered.
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

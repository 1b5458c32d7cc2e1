// The peer zita-convolver 4 (GPL: built and run by the bench only, never part of the product), left
// to left and right to right, in non-uniform partitions up to 8192 and its vector mode. Arguments:
// block, taps; blocks (counted between two calls of mark(), after as many for warm-up; FFTs planned
// by estimate, which is the same in each run), or seconds and paced (timed).
#include <unistd.h>
#include <zita-convolver.h>

#include "common.h"
#include "timing.h"

extern "C" {
DEFINE_MARK
}

int main(int, char **argv) {
    int block = argument(argv, "block", 64), taps = argument(argv, "taps", 97536),
        counted = argument(argv, "blocks", 0);
    bool paced = argument(argv, "paced", 0);
    Convproc convolver;
    convolver.set_options(Convproc::OPT_VECTOR_MODE | Convproc::OPT_LATE_CONTIN |
                          (counted ? 0 : Convproc::OPT_FFTW_MEASURE));
    if (convolver.configure(2, 2, taps, block, block, 8192, 0.0f)) return 1;
    for (int c = 0; c < 2; c++)
        if (convolver.impdata_create(c, c, 1, make_ir(taps), 0, taps)) return 1;
    if (convolver.start_process(0, SCHED_OTHER)) return 1;
    float sound[1024];
    for (float &x : sound) x = noise();
    auto process = [&] {
        for (int c = 0; c < 2; c++)
            memcpy(convolver.inpdata(c), sound, (size_t)block * sizeof(float));
        convolver.process(!paced);
    };
    if (counted) {
        for (int i = 0; i < counted; i++) process();
        mark();
        for (int i = 0; i < counted; i++) process();
        mark();
    } else {
        for (int i = 0; i < 1000; i++) process();
        timing t = timing_begin(argument(argv, "seconds", 4) * (long)RATE_HZ / block,
                                paced ? (double)block / RATE_HZ : 0);
        while (timing_next(&t)) process();
        timing_print(&t);
    }
    fflush(stdout);
    _exit(0); // its threads are not waited for
}
